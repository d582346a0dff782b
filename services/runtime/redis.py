"""Redis: a client whose every command and pipeline is a span, and whose failures are our own."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as NoAnswer

from services.runtime.errors import StoreUnavailable
from services.runtime.span_wire import Kind
from services.runtime.telemetry import leaf

ANSWER_SECONDS = 2.0
STORE = "redis"
UNREACHABLE = (NotConnected, NoAnswer, ReadOnlyError, OutOfMemoryError, OSError)
"""Whoever may not write, or has no room, is as good as not there; what else the server refuses is a mistake of ours."""


class _Pipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        if not self.command_stack:
            return await super().execute(raise_on_error)
        with _command(f"pipeline {_summary(self)}"):
            return await super().execute(raise_on_error)

    async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        with _command(str(args[0])):
            return await super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]


class _Redis(Redis):
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with _command(str(args[0])):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


@contextmanager
def _command(name: str) -> Iterator[None]:
    """A span named by fixed words: the command's, without keys and values."""
    with leaf(Kind.REDIS, name):
        try:
            yield
        except UNREACHABLE as error:
            raise StoreUnavailable(STORE) from error


def _summary(pipeline: Pipeline) -> str:
    """`XADD x3`, or `XADD x3, EXPIRE x1`."""
    names = Counter(str(arguments[0]) for arguments, _ in pipeline.command_stack)
    return ", ".join(f"{name} x{count}" for name, count in names.items())


def connect(url: str, block_seconds: float = 0.0, max_connections: int | None = None) -> Redis:
    """A client that fails at once, for callers that try again by themselves, with pauses.

    A command may take as long as it blocks, and 2 s. Raises StoreUnavailable.
    """
    return _Redis.from_url(
        url,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=block_seconds + ANSWER_SECONDS,
        max_connections=max_connections,
        retry=Retry(NoBackoff(), retries=0),
    )
