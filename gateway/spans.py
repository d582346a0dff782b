"""Every request's trace, complete the moment it ends: who owed its time, and whether it is worth keeping.

The spans of the services ride home with their answers (services/runtime/telemetry.py). Here they are put together, cut
along the critical path, and added to the operation's histogram, which goes to the traces service every second.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp

from gateway.reports import Reports
from services.runtime.export import SpanExport
from services.runtime.span_wire import OK, Kind, Placed, span_id, unpack
from services.runtime.telemetry import UNKNOWN, Recording
from services.traces.critical_path import Path, Span, calls, critical_path, shares
from services.traces.population import Request

SERVICE = "gateway"
DROPPED = "neurectomy.spans.dropped"
MAX_OPERATIONS = 1_000
SAMPLED_OF = 1_000
KEPT_PER_SECOND, KEPT_AT_ONCE = 10.0, 50.0
QUANTILE, STEP = 0.99, 0.2
SLOWER, FASTER = exp(STEP * QUANTILE), exp(-STEP * (1 - QUANTILE))


@dataclass(frozen=True, slots=True)
class Measured:
    """An operation's trace and where its time went, in nanoseconds; the shares sum to the latency."""

    operation: str
    spans: list[Span]
    path: Path
    latency: int
    shares: dict[str, int]


def measure(recording: Recording, operation: str, latency: int, failed: bool) -> Measured:
    """Put the trace of a request together that took `latency`."""
    spans = list(_spans(recording, operation, latency, failed))
    path = critical_path(spans)
    return Measured(operation, spans, path, latency, shares(path))


def _spans(recording: Recording, operation: str, latency: int, failed: bool) -> Iterator[Span]:
    base = recording.base
    yield Span(base, None, SERVICE, Kind.SERVER, operation, 0, latency, UNKNOWN if failed else OK)
    for index, parent, kind, name, start, duration, status, child, attributes in recording.spans:
        own_id, end = span_id(base, index), start + duration
        peer = _peer(name) if kind == Kind.CLIENT else ""
        yield Span(own_id, span_id(base, parent), SERVICE, kind, name, start, end, status, attributes, peer)
        if child is not None:
            for placed in unpack(child, own_id, start, duration):
                yield Span(*placed)


def _peer(method: str) -> str:
    """`/neurectomy.graph.v1.GraphService/BatchTraverse` -> `graph`."""
    return method.split(".")[1] if method.startswith("/neurectomy.") else ""


def _dropped(spans: list[Span]) -> int:
    """How many spans the services had no room for."""
    return sum(int(span.attributes.get(DROPPED, 0)) for span in spans if span.attributes)


class Spans:
    """Judges the trace of each request when it has ended."""

    def __init__(self, reports: Reports, export: SpanExport, clock: Callable[[], float] = time.monotonic) -> None:
        self._reports = reports
        self._export = export
        self._clock = clock
        self._thresholds: dict[str, float] = {}
        self._allowance = KEPT_AT_ONCE
        self._counted = clock()

    def end(self, recording: Recording, measured: Measured, failed: bool) -> None:
        """Count the request, and keep its trace if it is slow for its operation, failed, sampled or asked for."""
        trace, path, operation = recording.trace, measured.path, measured.operation
        flags = path.incomplete, path.ambiguous, recording.dropped + _dropped(measured.spans)
        self._reports.add(operation, Request(measured.latency, 1, measured.shares, calls(path), trace.trace_id, *flags))
        slow = self._is_slow(operation, measured.latency)
        if (slow or failed or trace.sampled or random.randrange(SAMPLED_OF) == 0) and self._may_keep():
            self._keep(recording, measured)

    def _is_slow(self, operation: str, latency: int) -> bool:
        """Follows the operation's P99: up by much where a request is above it, down by little where it is not."""
        threshold = self._thresholds.pop(operation, float(latency))
        slow = latency >= threshold
        self._thresholds[operation] = threshold * (SLOWER if slow else FASTER)
        if len(self._thresholds) > MAX_OPERATIONS:
            del self._thresholds[next(iter(self._thresholds))]
        return slow

    def _may_keep(self) -> bool:
        """Ten a second, lest an outage drown whoever looks at it."""
        now = self._clock()
        self._allowance = min(self._allowance + (now - self._counted) * KEPT_PER_SECOND, KEPT_AT_ONCE)
        self._counted = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _keep(self, recording: Recording, measured: Measured) -> None:
        epoch = time.time_ns() - recording.elapsed()
        root, *inner = measured.spans
        placed = [_placed(root, recording.trace.parent_id), *(_placed(span, span.parent_id) for span in inner)]
        self._export.spans(recording.trace.trace_id, placed, epoch)


def _placed(span: Span, parent_id: int | str | None) -> Placed:
    return Placed(
        int(span.span_id),
        None if parent_id is None else int(parent_id),
        span.service,
        span.kind,
        span.name,
        span.start,
        span.end,
        span.status,
        span.attributes,
    )
