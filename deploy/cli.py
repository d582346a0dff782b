"""The `neurectomy` command. Each command is thin: what it does is elsewhere, and imported when it is called."""

import asyncio
import os
import signal
import time
from typing import Annotated

import typer

from deploy.auth import commands as auth
from deploy.local.failure import StackError
from deploy.local.state import State
from deploy.terminal import DEFAULT_STATE, StateFolder, console, told_plainly
from deploy.traces import commands as traces

app = typer.Typer(
    name="neurectomy",
    help="Run and inspect Neurectomy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
DOWN_SECONDS = 60.0

Ports = Annotated[
    list[str],
    typer.Option(
        "--port",
        envvar="NEURECTOMY_PORTS",
        help="PART=NUMBER, such as gateway=4001; 0 takes a free one. May be given for each part.",
    ),
]
Since = Annotated[float, typer.Option(envvar="NEURECTOMY_SINCE", hidden=True)]


@app.command()
def up(
    state: StateFolder = DEFAULT_STATE,
    port: Ports = [],  # noqa: B006  # Typer's way
    tls: Annotated[
        bool, typer.Option("--tls", help="mTLS between our processes, by an authority of this run.")
    ] = False,
    since: Since = 0.0,
) -> None:
    """Start everything on this machine, with demo data, and stay until Ctrl-C."""
    with told_plainly():
        from deploy.local.foreground import run
        from deploy.local.ports import parse
        from deploy.local.stack import StackOptions

        asyncio.run(run(console, StackOptions(state, parse(port), tls=tls), since or time.time()))


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


app.add_typer(traces.app)
app.add_typer(auth.keys, name="keys")
app.add_typer(auth.audit, name="audit")


def wait_until_ended(folder: State) -> None:
    """Raises StackError when it takes too long."""
    limit = time.monotonic() + DOWN_SECONDS
    while folder.running() is not None:
        if time.monotonic() > limit:
            raise StackError(f"The stack in {folder.path} did not end within {DOWN_SECONDS:.0f} s.")
        time.sleep(0.1)
