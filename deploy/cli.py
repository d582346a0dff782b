"""The `neurectomy` command. Each command is thin: what it does is elsewhere, and imported when it is called."""

import asyncio
import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType

from deploy.local.failure import StackError
from deploy.local.ports import parse
from deploy.local.state import State

app = typer.Typer(
    name="neurectomy",
    help="Run and inspect Neurectomy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()
DOWN_SECONDS = 60.0

StateFolder = Annotated[
    Path, typer.Option("--state", envvar="NEURECTOMY_STATE", help="The folder with the local stack's data and logs.")
]
Ports = Annotated[
    list[str],
    typer.Option("--port", envvar="NEURECTOMY_PORTS", help="PART=NUMBER, such as gateway=4001; 0 takes a free one."),
]
Since = Annotated[float, typer.Option(envvar="NEURECTOMY_SINCE", hidden=True)]
DEFAULT_STATE = Path(".state")


@app.command()
def up(state: StateFolder = DEFAULT_STATE, port: Ports = [], since: Since = 0.0) -> None:  # noqa: B006  # Typer's way
    """Start everything on this machine, with demo data, and stay until Ctrl-C."""
    with told_plainly():
        from deploy.local.foreground import run
        from deploy.local.stack import StackOptions

        asyncio.run(run(console, StackOptions(state, parse(port)), since or time.time()))


@app.command()
def down(state: StateFolder = DEFAULT_STATE) -> None:
    """End the stack that `up` started, wherever it was started."""
    with told_plainly():
        folder = State(state)
        running = folder.running()
        if running is None:
            raise StackError(f"No stack runs in {folder.path}.")
        os.kill(running["pid"], signal.SIGTERM)
        wait_until_ended(folder)
        console.print("Everything has ended.")


@app.command()
def status(state: StateFolder = DEFAULT_STATE) -> None:
    """Say what runs, where, and how much memory it takes."""
    with told_plainly():
        from deploy.local.addresses import Addresses
        from deploy.local.status import table

        console.print(asyncio.run(table(Addresses.of_running(State(state)))))


@app.command()
def seed(state: StateFolder = DEFAULT_STATE) -> None:
    """Load the demo data into the running stack, where it is missing."""
    with told_plainly():
        from deploy.local.addresses import Addresses
        from deploy.local.demo import seed as load

        done = asyncio.run(load(Addresses.of_running(State(state)), lambda step, now: console.print(f"{step}: {now}")))
        console.print("The demo data is loaded." if done else "The demo data was there already.")


@app.command()
def blame(
    operation: Annotated[str, typer.Argument(help="A part of its name; the most frequent operation if left out.")] = "",
    percentile: Annotated[float, typer.Option(help="From 50 up to, not including, 100.")] = 99.0,
    window: Annotated[str, typer.Option(help="How far back: 90s, 5m, 2h.")] = "5m",
    as_json: Annotated[bool, typer.Option("--json", help="For a program instead of a person.")] = False,
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Say which service an operation's P99 is owed to: the parts sum to it exactly."""
    with told_plainly():
        from deploy import blame as answers

        async def ask() -> None:
            async with answers.of_running(state) as traces:
                seconds = answers.seconds_of(window)
                name = await answers.find(traces, operation, seconds)
                answer = await answers.judge(traces, name, percentile, seconds)
            show(answers.as_json(answer) if as_json else answers.blame_table(answer, percentile))

        asyncio.run(ask())


@app.command()
def trace(
    trace_id: Annotated[str, typer.Argument(help="32 hexadecimal digits, as in `traceresponse` and in every error.")],
    as_json: Annotated[bool, typer.Option("--json", help="For a program instead of a person.")] = False,
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Draw a kept trace, with its critical path."""
    with told_plainly():
        from deploy import blame as answers

        async def ask() -> None:
            async with answers.of_running(state) as traces:
                answer = await answers.opened(traces, trace_id)
            show(answers.as_json(answer) if as_json else answers.trace_table(answer))

        asyncio.run(ask())


def show(what: RenderableType) -> None:
    """JSON goes out as it is, for a program; the rest is drawn."""
    if isinstance(what, str):
        typer.echo(what)
    else:
        console.print(what)


def wait_until_ended(folder: State) -> None:
    """Raises StackError when it takes too long."""
    limit = time.monotonic() + DOWN_SECONDS
    while folder.running() is not None:
        if time.monotonic() > limit:
            raise StackError(f"The stack in {folder.path} did not end within {DOWN_SECONDS:.0f} s.")
        time.sleep(0.1)


@contextmanager
def told_plainly() -> Iterator[None]:
    """What a person can do something about is one message and exit status 1, not a traceback."""
    try:
        yield
    except StackError as error:
        message = str(error)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        message = f"The disk is full: {error.filename} could not be written. Make room and start again."
    else:
        return
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(message, style="red")
    raise typer.Exit(1)
