"""Doing things as soon as those they need are done."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from deploy.local.failure import first_failure

Needs = Mapping[str, Sequence[str]]
"""Name -> the names that come before it."""


async def in_order(needs: Needs, visit: Callable[[str], Awaitable[None]]) -> None:
    """Visit every name after those it needs, and at once with all others. The first failure ends the rest."""
    visited = {name: asyncio.Event() for name in needs}

    async def visit_when_due(name: str) -> None:
        for need in needs[name]:
            await visited[need].wait()
        await visit(name)
        visited[name].set()

    with first_failure():
        async with asyncio.TaskGroup() as group:
            for name in needs:
                group.create_task(visit_when_due(name), name=name)


def reverse(needs: Needs) -> Needs:
    """Who needs whom, the other way round."""
    return {name: [other for other in needs if name in needs[other]] for name in needs}


def closure(needs: Needs, wanted: Sequence[str]) -> Needs:
    """Only the wanted ones, and what they need."""
    kept: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept.add(name)
            waiting.extend(needs[name])
    return {name: needs[name] for name in needs if name in kept}
