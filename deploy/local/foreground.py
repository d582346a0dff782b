"""`neurectomy up`: the stack in the foreground, until it is asked to end."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console

from deploy.local.failure import StackError
from deploy.local.progress import StepList
from deploy.local.services import is_ready
from deploy.local.stack import Report, Stack, StackOptions

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_SECONDS = 0.5
READY_LOOKS = 60
RESTART_SECONDS = 5.0
"""How long what died stays dead: long enough to see what the others answer without it."""

PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
"""Text to be copied: no colours of its own, no line breaks where there are none."""
FIRST_QUERY = "query { agents { id name } }"
QUERY = """\
{ agents(first: 3) {
    name
    owner { displayName }
    latestVersion { number }
    executions(first: 2) { status durationMs }
    knowledge(query: "how do I catch an exception", first: 3) { text score }
    collaborators(depth: 2) { name }
} }"""


async def run(console: Console, options: StackOptions, since: float) -> None:
    """Start, fill, say what to open, and end when asked to. `since` is when the user's wait began, in Unix time."""
    with _ended_by_signal(), closing(StepList(console)) as steps:
        async with Stack(replace(options, report=steps)) as stack:
            await _fill(stack, steps)
            await _until_ready(stack)
            steps.close()
            _welcome(console, stack, time.time() - since)
            await _keep_up(console, stack)


async def _fill(stack: Stack, report: Report) -> None:
    from deploy.local import demo  # the services' clients are needed for this alone

    report("demo data", "looking")
    await demo.seed(stack, report)
    report("demo data", "ready")


async def _until_ready(stack: Stack) -> None:
    for _ in range(READY_LOOKS):
        if await is_ready(stack.gateway_url):
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise StackError(f"The gateway does not reach every service; {stack.gateway_url}/ready says which.")


def _welcome(console: Console, stack: Stack, seconds: float) -> None:
    url = f"{stack.gateway_url}/graphql"
    body = json.dumps({"query": FIRST_QUERY})
    console.print(f"\n[bold]Neurectomy is up[/bold] after {seconds:.1f} s.\n")
    console.print(f"GraphiQL, in a browser:  {url}", **PLAIN)
    console.print(f"A first query:           curl -s {url} -H 'content-type: application/json' -d '{body}'", **PLAIN)
    console.print(f"Who owes which latency:  {stack.traces_url}", **PLAIN)
    console.print(f"Mails that auth sends:   {stack.mail_folder}", **PLAIN)
    console.print(f"Logs:                    {stack.state.path / 'logs'}", **PLAIN)
    console.print("\nOne query through all four services, to paste into GraphiQL:\n")
    console.print(QUERY, **PLAIN)
    console.print("\nCtrl-C ends it.")


async def _keep_up(console: Console, stack: Stack) -> None:
    """Start again what died."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for name in stack.ended():
            console.print(f"[red]{name} died[/red]; it is started again in {RESTART_SECONDS:.0f} s.")
            await asyncio.sleep(RESTART_SECONDS)
            try:
                await stack.start(name)
            except StackError as error:
                console.print(str(error), **PLAIN)


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """The first signal ends the block from within; those after it are heard by nobody, as it is ending already."""
    loop, task, asked = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
    assert task is not None

    def ask() -> None:
        if not asked.is_set():
            asked.set()
            task.cancel()

    for number in ENDING:
        loop.add_signal_handler(number, ask)
    try:
        yield
    except asyncio.CancelledError:
        if not asked.is_set():
            raise
