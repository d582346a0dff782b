"""What all commands share: where they print, how failures are told, and which stack they are about."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType

from deploy.local.failure import StackError

console = Console()

StateFolder = Annotated[
    Path, typer.Option("--state", envvar="NEURECTOMY_STATE", help="The folder with the local stack's data and logs.")
]
DEFAULT_STATE = Path(".state")


def show(what: RenderableType) -> None:
    """JSON goes out as it is, for a program; the rest is drawn."""
    if isinstance(what, str):
        typer.echo(what)
    else:
        console.print(what)


def remark(text: str, style: str = "") -> None:
    """To the person, beside what a program may read."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(text, style=style)


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
    remark(message, "red")
    raise typer.Exit(1)
