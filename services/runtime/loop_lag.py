"""How late this process's event loop is: what waits for it is owed by whoever keeps it busy, not by the network.

A timer is due every few milliseconds while there are requests, and how late it comes is how long anything else that was
due then has waited.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PERIOD = 0.01
RESOLUTION = 1_000_000
"""Nanoseconds: event loops keep time in milliseconds, so a timer may be that late in an idle one."""
_PERIOD_NS = int(PERIOD * 1e9)


class LoopLag:
    """Measures the loop that it is started in. Nobody who asks, no timer: an idle process sleeps."""

    __slots__ = ("_asked", "_clock", "_due", "_handle", "_late", "_loop")

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._asked = False
        self._due = 0
        self._late = 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the running loop inside."""
        self._loop = asyncio.get_running_loop()
        try:
            yield
        finally:
            if self._handle is not None:
                self._handle.cancel()
            self._loop = self._handle = None

    def now(self) -> int:
        """Nanoseconds that something which begins now may have waited for the loop; 0 where nothing is measured."""
        self._asked = True
        if self._handle is None:
            self._begin()
            return 0
        overdue = self._clock() - self._due
        return overdue if overdue > self._late else self._late

    def _begin(self) -> None:
        self._late = 0
        if self._loop is not None:
            self._wait(self._loop)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = self._clock() + _PERIOD_NS + RESOLUTION
        self._handle = loop.call_later(PERIOD, self._come, loop)

    def _come(self, loop: asyncio.AbstractEventLoop) -> None:
        late = self._clock() - self._due
        self._late = late if late > 0 else 0
        if self._asked:
            self._asked = False
            self._wait(loop)
        else:
            self._handle = None


loop_lag = LoopLag()
"""Of this process, which has one event loop."""
