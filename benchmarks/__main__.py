"""`python -m benchmarks`: an open-loop load on the running stack, what recording it costs, what small things cost."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.load import Outcome, Plan, run
from benchmarks.scenarios import SCENARIOS
from deploy.local.addresses import Addresses
from deploy.local.processes import noted
from deploy.local.state import State
from deploy.terminal import DEFAULT_STATE, StateFolder, told_plainly
from deploy.traces import client
from deploy.traces.blame_table import blame_table

REPORTED_SECONDS = 2.5
"""The gateway reports its latencies once a second."""
PARTS = ("gateway", "auth", "agent_store", "vector_search", "graph", "traces", "postgres", "neo4j", "valkey")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()


@app.callback()
def benchmarks() -> None:
    """Measure the stack that `make run` started."""


@app.command()
def load(
    scenario: Annotated[str, typer.Argument(help=f"One of {', '.join(SCENARIOS)}.")] = "demo",
    rate: Annotated[float, typer.Option(min=0.1, max=100_000, help="Requests due per second.")] = 50.0,
    duration: Annotated[float, typer.Option(min=1, max=3_600, help="Seconds, after 2 s of warm-up.")] = 70.0,
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Ask one query at a fixed rate; latency counts from the moment a request was due."""
    with told_plainly():
        _require_known([scenario])
        asyncio.run(_load(scenario, rate, duration, state))


@app.command()
def overhead(
    scenarios: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(SCENARIOS)}; all if none.")] = None,
    rounds: Annotated[int, typer.Option(min=2, max=1_000)] = 30,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Each variant's turn in a round.")] = 2.0,
    connections: Annotated[int, typer.Option(min=1, max=256, help="Requests in flight.")] = 16,
) -> None:
    """What recording costs: tracing off, on, and stock OpenTelemetry take turns on a stack of its own."""
    with told_plainly():
        from benchmarks import overhead as turns

        _require_known(scenarios or ())
        found = turns.run(scenarios or list(SCENARIOS), rounds, seconds, connections, console.log)
        for name, measured in found.items():
            console.print(turns.table(name, measured))
            console.print(turns.by_process(measured))
        if len(found) > 1:
            console.print(turns.table("one of each together", turns.together(list(found.values()))))


@app.command()
def micro(suites: Annotated[list[str], typer.Argument(help="Of auth.")]) -> None:
    """What small things cost, by the product's own functions; needs no stack."""
    from benchmarks.micro.suites import SUITES, run

    for suite in suites:
        if suite not in SUITES:
            raise typer.BadParameter(f"there is no suite {suite!r}; there are {', '.join(SUITES)}")
        console.print(run(suite))


@app.command()
def login(
    attempts: Annotated[int, typer.Option(min=10, max=100_000, help="With a wrong password, on each kind.")] = 240,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Log-ins in progress beside GET /health.")] = 16,
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="GET /health due per second.")] = 200.0,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="How long, alone and beside log-ins each.")] = 15.0,
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Whether the time of a log-in tells who has an account, and what log-ins leave to GET /health."""
    with told_plainly():
        from benchmarks import login as log_ins

        addresses = Addresses.of_running(State(state))
        console.print(log_ins.comparison_table(asyncio.run(log_ins.compare(addresses, attempts))))
        beside = asyncio.run(log_ins.health_beside(addresses, at_once, rate, seconds))
        console.print(log_ins.beside_table(beside, at_once))


def _require_known(scenarios: Iterable[str]) -> None:
    for scenario in scenarios:
        if scenario not in SCENARIOS:
            raise typer.BadParameter(f"there is no scenario {scenario!r}; there are {', '.join(SCENARIOS)}")


async def _load(scenario: str, rate: float, duration: float, state: Path) -> None:
    addresses = Addresses.of_running(State(state))
    name, start = f"Load{scenario.title()}", time.time()
    plan = Plan(f"{addresses.gateway_url}/graphql", f"query {name} {SCENARIOS[scenario].strip()}", rate, duration)
    before = _cpu_seconds(addresses)
    outcome = await run(plan)
    cpu = {part: seconds - before[part] for part, seconds in _cpu_seconds(addresses).items() if part in before}
    requests = rate * (duration + plan.warm_up_seconds)
    console.print(_table(scenario, rate, outcome, {part: seconds / requests for part, seconds in cpu.items()}))
    await asyncio.sleep(REPORTED_SECONDS)
    async with client.traces(client.local(state)) as traces:
        window = int(time.time() - start)  # this run's; `neurectomy blame --against` compares it with others
        operation = await client.find(traces, name, window)
        console.print(blame_table(await client.judge(traces, operation, 99.0, window), 99.0))


def _cpu_seconds(addresses: Addresses) -> dict[str, float]:
    """User and system time of each part of the stack so far, with its children."""
    found = {part: noted(addresses.state.pid_file(part)) for part in PARTS}
    return {part: _family_seconds(process) for part, process in found.items() if process is not None}


def _family_seconds(process: psutil.Process) -> float:
    times = [member.cpu_times() for member in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def _table(scenario: str, rate: float, outcome: Outcome, cpu: dict[str, float]) -> Table:
    table = Table(title=f"{scenario}, {rate:g} requests/s due", title_justify="left", show_header=False)
    table.add_row("answered", f"{len(outcome.latencies):,}, {len(outcome.latencies) / outcome.elapsed:,.1f} a second")
    table.add_row("not ok", ", ".join(f"{name}: {n}" for name, n in outcome.answers.items() if name != "ok") or "none")
    for percent in (50.0, 90.0, 99.0):
        table.add_row(f"P{percent:g}", f"{outcome.percentile(percent) * 1_000:,.2f} ms")
    table.add_row("CPU", f"{sum(cpu.values()) * 1_000:,.2f} ms a request")
    table.add_row("", ", ".join(f"{part} {seconds * 1_000:,.2f}" for part, seconds in cpu.items()))
    return table


if __name__ == "__main__":
    app()
