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
from rich.console import Console

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
