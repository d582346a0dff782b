"""Every request's trace, complete the moment it ends: who owed its time, and whether it is worth keeping.

The spans of the services ride home with their answers (services/runtime/telemetry.py). Here they are put together, cut
along the critical path, and added to the operation's histogram, which goes to the traces service every second. That is
done for a few requests at once, after their answers: the processor then has code and data at hand.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import structlog

from gateway.fields import SERVICE, Fields
from gateway.reports import Reports
from gateway.shares import Overhead, SharesMetrics
from services.runtime.background import in_background
from services.runtime.export import SpanExport
from services.runtime.outcomes import UNKNOWN
from services.runtime.span_wire import DROPPED, OK, Kind, Span, add_span
from services.runtime.telemetry import Recording
from services.traces.critical_path import Path, calls, critical_path, shares
from services.traces.owed import Owed, Unusual
from services.traces.population import Request

log = structlog.get_logger()

MAX_OPERATIONS = 1_000
SAMPLED_OF = 1_000
KEPT_PER_SECOND, KEPT_AT_ONCE = 10.0, 50.0
RECENT = 256
JUDGED_AFTER = 32
"""So many requests of an operation are kept as far as the allowance goes, and so often its threshold is found anew."""
QUANTILE = 0.99
TOGETHER = 16
JUDGED_SECONDS = 0.05
"""So many ended requests are judged at once, or so often what there is."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An operation's trace and where its time went, in nanoseconds; the shares sum to the latency."""

    operation: str
    spans: list[Span]
    path: Path
    latency: int
    shares: dict[str, int]


class Ended(NamedTuple):
    """A request whose answer has been sent; its latency in nanoseconds."""

    recording: Recording
    operation: str
    latency: int
    failed: bool
    fields: Fields | None = None


def measure(ended: Ended) -> Measured:
    """Put the trace of a request together."""
    recording, operation, latency, failed, _ = ended
    root = Span(recording.base, None, SERVICE, Kind.SERVER, operation, 0, latency, UNKNOWN if failed else OK)
    spans = [root]
    for recorded in recording.spans:
        add_span(spans, recording.base, SERVICE, recorded, 0)
    path = critical_path(spans)
    return Measured(operation, spans, path, latency, shares(path))


def counted(ended: Ended, trace_id: str = "") -> Request:
    """What the request adds to its operation's histogram; its trace's id if that is kept."""
    recording, _, latency, _, _ = ended
    try:
        owed = Owed(SERVICE, recording.spans, latency)
    except Unusual:
        measured = measure(ended)
        path, dropped = measured.path, recording.dropped + _dropped(measured.spans)
        return Request(latency, 1, measured.shares, calls(path), trace_id, path.incomplete, path.ambiguous, dropped)
    return Request(latency, 1, owed.shares, owed.calls, trace_id, False, False, recording.dropped + owed.dropped)


def _dropped(spans: list[Span]) -> int:
    """How many spans the services had no room for."""
    return sum(int(span.attributes.get(DROPPED, 0)) for span in spans if span.attributes)


class Recent:
    """The latest latencies of an operation, and the P99 of these."""

    __slots__ = ("_latencies", "_seen", "_threshold")

    def __init__(self) -> None:
        self._latencies: deque[int] = deque(maxlen=RECENT)
        self._threshold = 0
        self._seen = 0

    def is_slow(self, latency: int) -> bool:
        """Whether it is among the slowest hundredth of late; the first ones all are."""
        slow = latency >= self._threshold
        self._latencies.append(latency)
        self._seen += 1
        if self._seen % JUDGED_AFTER == 0:
            self._threshold = sorted(self._latencies)[int(QUANTILE * len(self._latencies))]
        return slow


class Allowance:
    """Ten a second, lest an outage drown whoever looks at it."""

    __slots__ = ("_clock", "_counted", "_left")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counted = clock()
        self._left = KEPT_AT_ONCE

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._clock()
        self._left = min(self._left + (now - self._counted) * KEPT_PER_SECOND, KEPT_AT_ONCE)
        self._counted = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Spans:
    """Judges the trace of each request when it has ended."""

    def __init__(
        self,
        reports: Reports,
        export: SpanExport,
        shares: SharesMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reports = reports
        self._export = export
        self._shares = shares or SharesMetrics()
        self.overhead = Overhead()
        self._recent: dict[str, Recent] = {}
        self._own, self._asked_for = Allowance(clock), Allowance(clock)
        """Apart, so that clients who ask for all of theirs leave us the slow and the failed."""
        self._ended: list[Ended] = []

    def end(self, ended: Ended) -> None:
        """Judge the request soon. What tasks do that outlive it is no part of it."""
        ended.recording.closed = True
        self._ended.append(ended)
        if len(self._ended) >= TOGETHER:
            self.judge()

    @asynccontextmanager
    async def judging(self) -> AsyncIterator[None]:
        """Judge in the background what does not fill a batch, and at the end what is left."""
        try:
            async with in_background(self._run()):
                yield
        finally:
            self.judge()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(JUDGED_SECONDS)
            self.judge()

    def judge(self) -> None:
        """Judge all that have ended."""
        waiting, self._ended = self._ended, []
        with self.overhead:
            for ended in waiting:
                try:
                    self._judge(ended)
                except Exception:  # a blob of another version may hold anything; requests must not suffer for it
                    log.exception("a trace could not be judged", trace=ended.recording.trace.trace_id)

    def _judge(self, ended: Ended) -> None:
        """Keep the trace if it is slow for its operation, failed, sampled or asked for; count the request in any case.

        Only a kept trace's id is counted with it, so that whoever is blamed can be looked at.
        """
        recording, operation, latency, failed, fields = ended
        wanted = self._is_slow(operation, latency) or failed or random.random() * SAMPLED_OF < 1
        kept = (wanted and self._own.take()) or (recording.trace.sampled and self._asked_for.take())
        trace_id = recording.trace.trace_id if kept else ""
        request = counted(ended, trace_id)
        self._reports.add(operation, request)
        self._shares.count(operation, request.shares, trace_id, request.dropped)
        if kept:
            self._keep(recording, measure(ended), fields)

    def _is_slow(self, operation: str, latency: int) -> bool:
        recent = self._recent.pop(operation, None) or Recent()
        self._recent[operation] = recent
        if len(self._recent) > MAX_OPERATIONS:
            del self._recent[next(iter(self._recent))]
        return recent.is_slow(latency)

    def _keep(self, recording: Recording, measured: Measured, fields: Fields | None) -> None:
        epoch = time.time_ns() - recording.elapsed()
        root, *inner = measured.spans
        root = msgspec.structs.replace(root, parent_id=recording.trace.parent_id)
        self._export.spans(
            recording.trace.trace_id, [root, *inner, *(fields.spans() if fields else ())], epoch, recording.trace.state
        )
