"""Counters of attempts: in Redis, by one script, or in this process alone while Redis does not answer."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import structlog
from redis.asyncio import Redis

from services.runtime.errors import StoreUnavailable

SCRIPT = Path(__file__).with_suffix(".lua").read_text()
KEPT_SECONDS = 86_400.0
"""How long after the last attempt a counter is forgotten."""
FAMILIAR_SECONDS = 2_592_000.0
"""How long an address that has logged in is familiar."""
MOST_KEPT = 20_000
"""Counters in memory; the least recently used make room."""
CONNECTIONS = 16
"""A thousand attempts at once would open as many, and be taken for Redis not answering."""
AGAIN_SECONDS = 5.0
"""How long Redis is left alone after it did not answer: an attempt should wait for that once, not each time."""

Operation = Literal["check", "failed", "succeeded", "withdrawn"]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limit:
    """So many attempts are free; the one after waits for the first pause, and each further one twice as long."""

    free: int
    first_seconds: float
    longest_seconds: float

    def pause(self, count: int) -> float:
        """Seconds to wait after that many attempts."""
        doublings = min(count - self.free, 60)
        return 0.0 if doublings < 0 else min(self.longest_seconds, self.first_seconds * 2.0**doublings)


@dataclass(frozen=True, slots=True)
class Counted:
    """What one attempt is counted by: a mark of familiarity, and counters, that of account and address first."""

    mark: str
    counters: Sequence[tuple[str, Limit]]


class Counters(Protocol):
    """Counts in advance: `check` counts an attempt as failed unless it must wait, and the others say how it went."""

    async def do(self, operation: Operation, counted: Counted) -> float:
        """The seconds that a checked attempt must wait; 0 for one that is counted, and for the other operations."""


class LocalCounters:
    """In memory, bounded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST_KEPT) -> None:
        self._clock = clock
        self._most = most
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    async def do(self, operation: Operation, counted: Counted) -> float:
        """See Counters."""
        familiar = self._find(counted.mark) is not None
        heeded, unheeded = (counted.counters[:1], counted.counters[1:]) if familiar else (counted.counters, ())
        match operation:
            case "check":
                if wait := self._wait(heeded):
                    return wait
                self._count(heeded, 1)
            case "failed":
                self._count(heeded, 0)  # the pause begins now, however long the attempt took
                self._count(unheeded, 1)
            case "succeeded":
                self._kept.pop(counted.counters[0][0], None)
                self._count(heeded[1:], -1)
                self._keep(counted.mark, _Kept(1, 0.0, self._clock() + FAMILIAR_SECONDS))
            case "withdrawn":
                self._count(heeded, -1)
        return 0.0

    def _wait(self, counters: Sequence[tuple[str, Limit]]) -> float:
        found = (self._find(key) for key, _ in counters)
        return max(0.0, *(kept.until - self._clock() if kept else 0.0 for kept in found))

    def _count(self, counters: Sequence[tuple[str, Limit]], by: int) -> None:
        for key, limit in counters:
            before = self._find(key) or _Kept(0, 0.0, 0.0)
            now, count = self._clock(), before.count + by
            if count <= 0:
                self._kept.pop(key, None)
                continue
            pause = limit.pause(count)
            until = now + pause if by >= 0 and pause else before.until if count >= limit.free else 0.0
            self._keep(key, _Kept(count, until, now + KEPT_SECONDS))

    def _find(self, key: str) -> "_Kept | None":
        kept = self._kept.get(key)
        return kept if kept is not None and self._clock() < kept.expires else None

    def _keep(self, key: str, kept: "_Kept") -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Kept:
    count: int
    until: float
    expires: float


class SharedCounters:
    """In Redis, for all replicas, and in this process's memory while it is away: never no limit, and never an error."""

    def __init__(self, redis: Redis, local: LocalCounters, clock: Callable[[], float] = time.monotonic) -> None:
        self._script = redis.register_script(SCRIPT)
        self._local = local
        self._clock = clock
        self._again = float("-inf")
        self._connections = asyncio.Semaphore(CONNECTIONS)

    async def do(self, operation: Operation, counted: Counted) -> float:
        """See Counters."""
        if self._clock() >= self._again:
            try:
                async with self._connections:
                    return await self._shared(operation, counted)
            except StoreUnavailable as error:
                self._again = self._clock() + AGAIN_SECONDS
                log.warning("attempts are counted in this process alone", error=str(error))
        return await self._local.do(operation, counted)

    async def _shared(self, operation: Operation, counted: Counted) -> float:
        keys = [counted.mark, *(key for key, _ in counted.counters)]
        numbers = [number for _, limit in counted.counters for number in _numbers(limit)]
        arguments = [operation, _milliseconds(KEPT_SECONDS), _milliseconds(FAMILIAR_SECONDS), *numbers]
        wait: int = await self._script(keys=keys, args=arguments)
        return wait / 1_000


def _numbers(limit: Limit) -> tuple[int, int, int]:
    return limit.free, _milliseconds(limit.first_seconds), _milliseconds(limit.longest_seconds)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1_000)
