"""More processes on a stack's stores, beside those of the stack itself."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from deploy.local import services
from deploy.local.addresses import Addresses
from deploy.local.ports import settle
from deploy.local.processes import Supervised
from deploy.local.stack import Stack
from deploy.local.state import State

Beside = tuple[Addresses, Mapping[str, Supervised]]
"""Where they are, and each by its name."""


@asynccontextmanager
async def beside(
    stack: Stack, folder: Path, names: Sequence[str], more: Mapping[str, Mapping[str, str]] | None = None
) -> AsyncIterator[Beside]:
    """Start them in this order, on free ports; they call each other where they can, and the stack's where not.

    Logs are in the folder. `more` has, by name, variables that are added to a process's own.
    """
    addresses = Addresses(stack.state, {**stack.ports, **settle(dict.fromkeys(names, 0))})
    async with AsyncExitStack() as running:
        processes = {}
        for name in names:
            environment = {**addresses.environment(name), **(more or {}).get(name, {})}
            program = services.service(State(folder), name, addresses.ports[name], environment)
            processes[name] = Supervised(program)
            running.push_async_callback(processes[name].stop)
            await processes[name].start()
        yield addresses, processes
