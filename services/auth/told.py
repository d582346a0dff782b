"""What Redis was told of revocations, and whether it still knows. It may be lost whole, and be back with a part of it.

`auth:revoked:complete` is there only while all else is. It is renewed, but made only where all has just been written.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from services.runtime.revocations import CHANNEL, COMPLETE, COMPLETE_SECONDS, EVERYTHING, MEMBER, Revocation, key_of

RENEW_SECONDS = 1.0
BATCH = 500
WRITING_SECONDS = 60
MILLISECONDS = 1_000

Expiring = tuple[Revocation, float]
"""A revocation, and until when it is to be kept, in seconds since 1970."""


class Mark(NamedTuple):
    """By what a Redis is known that has lost nothing: each restart, eviction and flush changes it."""

    run_id: str
    evicted: int
    complete: bytes | None


class Told:
    """Redis as this process knows it."""

    def __init__(self, redis: Redis, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._monotonic = monotonic
        self._mark: Mark | None = None
        self._renewed = float("-inf")

    def is_due(self) -> bool:
        """Whether it is time to say that nothing is new."""
        return self._monotonic() - self._renewed >= RENEW_SECONDS

    async def has_the_rest(self) -> bool:
        """Whether it still has what it was told by us before. Raises StoreUnavailable."""
        mark = await self._look()
        return mark.complete is not None and mark == self._mark

    async def tell(self, revocations: Sequence[Expiring]) -> None:
        """Add to what it has. Raises StoreUnavailable."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            for each, expires in revocations:
                _write(pipeline, each, expires)
                pipeline.publish(CHANNEL, each.name)
            pipeline.pexpire(COMPLETE, int(COMPLETE_SECONDS * MILLISECONDS))
            *_, renewed = await pipeline.execute()
        self._renewed = self._monotonic() if renewed else float("-inf")

    async def tell_all(self, revocations: Sequence[Expiring]) -> None:
        """Tell it from the start, and everyone that something may have been missed. Raises StoreUnavailable.

        What is written meanwhile can be flushed meanwhile: it is complete only if the key of the beginning is there.
        """
        mark = await self._look()
        name = mark.complete or secrets.token_hex(8).encode()
        beginning = COMPLETE if mark.complete else f"{COMPLETE}:{name.decode()}"
        if not mark.complete:
            await self._redis.set(beginning, name, ex=WRITING_SECONDS)
        for first in range(0, len(revocations), BATCH):
            await self._write_all(revocations[first : first + BATCH])
        if await self._finished(beginning):
            self._mark, self._renewed = mark._replace(complete=name), self._monotonic()
        await self._redis.publish(CHANNEL, EVERYTHING)

    async def _look(self) -> Mark:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.info("server")
            pipeline.info("stats")
            pipeline.get(COMPLETE)
            server, stats, complete = await pipeline.execute()
        return Mark(server["run_id"], stats["evicted_keys"], complete)

    async def _write_all(self, revocations: Sequence[Expiring]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for each, expires in revocations:
                _write(pipeline, each, expires)
            await pipeline.execute()

    async def _finished(self, beginning: str) -> bool:
        """A key that is renamed keeps its time."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.pexpire(beginning, int(COMPLETE_SECONDS * MILLISECONDS))
            if beginning != COMPLETE:
                pipeline.rename(beginning, COMPLETE)
            try:
                done: list[Any] = await pipeline.execute()
            except ResponseError:  # there is nothing to rename
                return False
        return bool(done[0])


def _write(pipeline: Pipeline, revocation: Revocation, expires: float) -> None:
    """Neither the version nor the end goes back, in whatever order replicas write."""
    key, until = key_of(revocation.name), int(expires * MILLISECONDS)
    pipeline.zadd(key, {MEMBER: revocation.version}, gt=True)
    pipeline.pexpireat(key, until, nx=True)
    pipeline.pexpireat(key, until, gt=True)
