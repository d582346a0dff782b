"""Makes the gateway and its Redis slow where the trace id says so.

Two branches are added to the four that a query of an agent's people, runs, knowledge and collaborators has: a resolver
of the gateway's own, and a command to the real Redis, for no request path has one yet. Any branch can be held back.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis.asyncio import Redis

from gateway import changes
from gateway.loaders import Loader
from gateway.remote import Services
from services.runtime.span_wire import Kind
from services.runtime.telemetry import current_trace_id, span
from tests.system.drill import marks

BRANCHES = {
    "users": "users",
    "latest_executions": "executions",
    "searches": "searches",
    "traversals": "traversals",
}
"""By the fetch that makes their call."""
KEY = "drill:nothing"

_redis: list[Redis] = []


def slow_down() -> None:
    """From now on, this process is slow where it is told to be."""
    changes.connect = _remembering(changes.connect)  # type: ignore[assignment]
    Redis.execute_command = _slow_command(Redis.execute_command)  # type: ignore[method-assign]
    Loader.__init__ = _with_branches(Loader.__init__)  # type: ignore[method-assign]


def _remembering(connect: Callable[[str], Redis]) -> Callable[[str], Redis]:
    def connected(url: str) -> Redis:
        _redis.append(connect(url))
        return _redis[-1]

    return connected


def _with_branches(begin: Any) -> Any:
    def begin_slowly(self: Loader[Any, Any], fetch: Any, *arguments: Any) -> None:
        begin(self, _slow(fetch, BRANCHES.get(_name(fetch), "")), *arguments)

    return begin_slowly


def _slow(fetch: Any, branch: str) -> Any:
    async def fetch_slowly(services: Services, keys: Sequence[Any]) -> Any:
        async with asyncio.TaskGroup() as branches:
            if branch == "users":
                branches.create_task(_resolver())
                branches.create_task(_command())
            await _held(branch)
            return await fetch(services, keys)

    return fetch_slowly


def _name(fetch: Any) -> str:
    return str((fetch.func if isinstance(fetch, partial) else fetch).__name__)


async def _resolver() -> None:
    await _held("gateway", marks.seconds(current_trace_id(), "gateway"))


async def _command() -> None:
    await _held("redis")
    await _redis[0].get(KEY)


def _slow_command(execute: Any) -> Any:
    async def execute_slowly(self: Redis, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(marks.seconds(current_trace_id(), "gateway/redis"))
        return await execute(self, *arguments, **options)

    return execute_slowly


async def _held(branch: str, delay: float = 0.0) -> None:
    """Wait as a resolver does, if the branch is held back or slow by itself."""
    if marks.held(current_trace_id()) == branch:
        delay += marks.HELD / 1_000
    if delay:
        with span(Kind.INTERNAL, "slow resolver"):
            await asyncio.sleep(delay)
