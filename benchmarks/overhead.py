"""What recording every request costs: the same code with tracing off, on, and with stock OpenTelemetry, taking turns.

Three sets of our processes stand side by side on the same stores. In each round each of them is asked the same queries
for the same time, and is compared with its neighbours of that round only: a machine that slows down for a minute slows
all three. Every variant follows every other equally often.

Reports and spans are sent later than the requests that they are of. So a turn ends with a pause in which they are: they
are in that variant's CPU, with what the traces service does with them, and do not slow whoever comes next.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from rich.table import Table

from benchmarks.load import Plan, saturate
from benchmarks.scenarios import SCENARIOS
from deploy.local import services
from deploy.local.addresses import SERVICES
from deploy.local.demo import seed
from deploy.local.ports import HOST, settle
from deploy.local.processes import Program, Service, Supervised, noted
from deploy.local.stack import Stack, StackOptions, say_nothing

VARIANTS = ("off", "on", "stock")
OWN = ("auth", "agent_store", "vector_search", "graph", "gateway")
"""What each variant has of its own."""
PARTS = (*OWN, "traces")
WARM_UP_SECONDS = 3.0
SETTLING_SECONDS = 1.5
EXPORT_MILLISECONDS = 500
"""How long exporters may gather spans, OpenTelemetry's default being 5 s: a pause is to see the end of a turn's."""
MICRO = 1_000_000
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One variant's turn of a round."""

    requests_per_second: float
    cpu: Mapping[str, float]
    """Microseconds a request, by process."""

    @property
    def cpu_total(self) -> float:
        """Microseconds a request, of all processes."""
        return sum(self.cpu.values())


@dataclass(slots=True)
class Measured:
    """All turns of one scenario, by variant; the turns of a round have the same place."""

    samples: dict[str, list[Sample]] = field(default_factory=lambda: {name: [] for name in VARIANTS})

    def against_off(self, variant: str, value: Callable[[Sample], float]) -> list[float]:
        """The ratio to tracing off, round by round."""
        pairs = zip(self.samples[variant], self.samples["off"], strict=True)
        return [value(sample) / value(off) for sample, off in pairs]


class Fleet:
    """One set of our processes, on the stores of a stack and with its traces service."""

    def __init__(self, variant: str, stack: Stack, ports: Mapping[str, int], sink: str) -> None:
        self._variant = variant
        self._stack = stack
        self._ports = ports
        self._sink = sink
        self._processes = {name: Supervised(self._service(name)) for name in OWN}
        self.url = f"http://{HOST}:{ports['gateway']}/graphql"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Fleet"]:
        async with AsyncExitStack() as stack:
            for process in self._processes.values():
                stack.push_async_callback(process.stop)
                await process.start()
            yield self

    def cpu_seconds(self) -> dict[str, float]:
        """User and system time so far, by process."""
        pids = {name: process.pid for name, process in self._processes.items()}
        traces = noted(self._stack.state.pid_file("traces"))
        pids["traces"] = traces.pid if traces else None
        return {name: cpu_seconds(pid) for name, pid in pids.items() if pid}

    def _service(self, name: str) -> Service:
        plain = services.service(self._stack.state, name, self._ports[name], self._environment(name))
        module = "gateway" if name == "gateway" else f"services.{name}"
        instrumented = ["benchmarks.stock"] if self._variant == "stock" else []
        program = Program(
            name=f"{name} {self._variant}",
            arguments=[sys.executable, "-m", *instrumented, module],
            folder=services.ROOT,
            log=self._stack.state.log(f"{name}.{self._variant}"),
            environment=plain.program.environment,
        )
        return Service(program, self._stack.state.pid_file(f"{name}.{self._variant}"), plain.ready)

    def _environment(self, name: str) -> dict[str, str]:
        targets = {
            f"{each.upper()}_TARGET": f"{HOST}:{self._ports.get(each, self._stack.ports[each])}" for each in SERVICES
        }
        own = {"LISTEN": f"{HOST}:{self._ports[name]}", "TRACING": "on" if self._variant == "on" else "off"}
        own["OTEL_BSP_SCHEDULE_DELAY"] = str(EXPORT_MILLISECONDS)
        stock = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self._sink}"} if self._variant == "stock" else {}
        known = self._stack.environment(name)
        known.pop("OTEL_EXPORTER_OTLP_ENDPOINT", None)
        return {**known, **{key: value for key, value in targets.items() if key in known}, **own, **stock}


def cpu_seconds(pid: int) -> float:
    """What a process's threads have run for: to the nanosecond where Linux tells, else by ticks of a hundredth."""
    try:
        threads = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(text.split()[0]) for text in threads) / 1e9
    except OSError:
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system


@asynccontextmanager
async def sink() -> AsyncIterator[str]:
    """Where stock's spans go: a server that takes them unread, so that nobody's cost but the senders' is measured."""

    async def export(_request: bytes, _context: Any) -> bytes:
        return b""

    server = grpc.aio.server()
    service, _, method = EXPORT[1:].partition("/")
    handlers: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(export)}
    server.add_registered_method_handlers(service, handlers)
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        yield f"{HOST}:{port}"
    finally:
        await server.stop(None)


async def measure(
    scenarios: Sequence[str], rounds: int, seconds: float, connections: int, say: Say
) -> dict[str, Measured]:
    """Start everything in a folder of its own, and let the variants take turns."""
    async with AsyncExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        say("starting the stores and three sets of processes")
        stack = await resources.enter_async_context(Stack(StackOptions.for_tests(folder, _parts())))
        address = await resources.enter_async_context(sink())
        fleets = {}
        for variant in VARIANTS:
            fleet = Fleet(variant, stack, settle(dict.fromkeys(OWN, 0)), address)
            fleets[variant] = await resources.enter_async_context(fleet.running())
        say("loading the demo data")
        await seed(stack, say_nothing)
        return {name: await _scenario(name, fleets, rounds, seconds, connections, say) for name in scenarios}


def _parts() -> Sequence[str]:
    return ("traces", "graph", "vector_search")


async def _scenario(
    scenario: str, fleets: Mapping[str, Fleet], rounds: int, seconds: float, connections: int, say: Say
) -> Measured:
    measured = Measured()
    for fleet in fleets.values():
        await saturate(_plan(scenario, fleet, WARM_UP_SECONDS, connections))
    for number in range(rounds):
        say(f"{scenario}: round {number + 1} of {rounds}")
        for variant in order(number):
            sample = await _turn(fleets[variant], _plan(scenario, fleets[variant], seconds, connections))
            measured.samples[variant].append(sample)
    return measured


def order(number: int) -> Sequence[str]:
    """Who takes turns when in a round: rotated, and backwards in every other three."""
    cycle, turn = divmod(number, len(VARIANTS))
    rotated = (*VARIANTS[turn:], *VARIANTS[:turn])
    return rotated[::-1] if cycle % 2 else rotated


def _plan(scenario: str, fleet: Fleet, seconds: float, connections: int) -> Plan:
    query = f"query Overhead {SCENARIOS[scenario].strip()}"
    return Plan(fleet.url, query, rate=0.0, seconds=seconds, connections=connections)


async def _turn(fleet: Fleet, plan: Plan) -> Sample:
    before, start = fleet.cpu_seconds(), time.perf_counter()
    outcome = await saturate(plan)
    elapsed = time.perf_counter() - start
    await asyncio.sleep(SETTLING_SECONDS)
    after = fleet.cpu_seconds()
    if outcome.errors:
        raise RuntimeError(f"not every answer was good: {dict(outcome.answers)}")
    requests = len(outcome.latencies)
    return Sample(requests / elapsed, {name: (after[name] - before[name]) * MICRO / requests for name in PARTS})


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the quartiles on either side of it."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, low, high


def run(scenarios: Sequence[str], rounds: int, seconds: float, connections: int, say: Say) -> dict[str, Measured]:
    """See `measure`."""
    return asyncio.run(measure(scenarios, rounds, seconds, connections, say))


def together(found: Sequence[Measured]) -> Measured:
    """One of each scenario as a request of its own: its time and its CPU are theirs, added up round by round."""
    whole = Measured()
    for variant in VARIANTS:
        rounds = zip(*(measured.samples[variant] for measured in found), strict=True)
        whole.samples[variant] = [_one_of_each(turns) for turns in rounds]
    return whole


def _one_of_each(turns: Sequence[Sample]) -> Sample:
    seconds = sum(1 / turn.requests_per_second for turn in turns)
    return Sample(1 / seconds, {part: sum(turn.cpu[part] for turn in turns) for part in PARTS})


def table(scenario: str, measured: Measured) -> Table:
    """Medians, with the quartiles on either side, and the medians of the ratios to tracing off in the same round."""
    columns = ("requests/s", "to off", "CPU us a request", "to off")
    shown = Table(title=f"{scenario}, {len(measured.samples['off'])} rounds", title_justify="left")
    for name in ("tracing", *columns):
        shown.add_column(name, justify="left" if name == "tracing" else "right", no_wrap=True)
    for variant in VARIANTS:
        rates = [sample.requests_per_second for sample in measured.samples[variant]]
        cpu = [sample.cpu_total for sample in measured.samples[variant]]
        rate_ratios = measured.against_off(variant, lambda sample: sample.requests_per_second)
        cpu_ratios = measured.against_off(variant, lambda sample: sample.cpu_total)
        shown.add_row(variant, _spread(rates, 0), _spread(rate_ratios, 3), _spread(cpu, 0), _spread(cpu_ratios, 3))
    return shown


def _spread(values: Sequence[float], digits: int) -> str:
    median, low, high = (f"{value:,.{digits}f}" for value in middle(values))
    return f"{median} ({low}-{high})"


def by_process(measured: Measured) -> str:
    """What each process takes, in microseconds of CPU a request: medians."""
    lines = []
    for variant in VARIANTS:
        parts = {part: statistics.median(each.cpu[part] for each in measured.samples[variant]) for part in PARTS}
        lines.append(f"{variant}: " + ", ".join(f"{part} {value:,.0f}" for part, value in parts.items()))
    return "\n".join(lines)
