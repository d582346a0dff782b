"""Kept traces: OTLP in from anyone, a bounded number of bytes and hours held, the newest traces winning.

Half of the bytes are safe for the traces that our own processes have a part in: whoever floods the port with others
pushes out those others. Log lines are held with the trace they belong to; see `recent` for those that come before it.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import inf, isfinite

import msgspec
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from services.runtime.errors import TraceNotFound
from services.runtime.span_wire import Kind, Span
from services.traces import metrics, otlp
from services.traces.critical_path import Path, SpanId, critical_path, labels, place
from services.traces.kept import Pool, Summary, Trace, pack_line
from services.traces.otlp import Line
from services.traces.recent import Recent

RPC_METHOD = "rpc.method"
"""What every span of a call has, and one of a GraphQL operation has not."""
TRACES_IN_FULL = 8
"""At least so many traces are held: one that is larger than its part is cut."""
AT_ONCE = 500
"""Spans, which take some 10 ms."""
LINES_PART = 8
"""What part of the bytes may be lines of traces that are not kept, beside those that are."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A kept trace with its spans placed, parents before children, its critical path, and its log."""

    summary: Summary
    spans: list[Span]
    path: Path
    labels: dict[SpanId, str]
    lines: list[Line]


def _entered(spans: list[Span]) -> list[Span]:
    """A gateway's operation is where a request came in: what its client calls the parent lies outside, if it is not
    here, and is not missing.
    """
    known = {span.span_id for span in spans}
    return [
        msgspec.structs.replace(span, parent_id=None) if _is_operation(span) and span.parent_id not in known else span
        for span in spans
    ]


def _is_operation(span: Span) -> bool:
    return span.kind == Kind.SERVER and otlp.is_own(span) and RPC_METHOD not in (span.attributes or {})


class Collector:
    """Kept traces by id, in the order in which their first span came."""

    def __init__(self, max_bytes: int, hours: float, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_bytes
        self._kept_seconds = hours * 3_600
        self._clock = clock
        self._recent = Recent(max_bytes // LINES_PART)
        self._own, self._others = Pool(), Pool()
        self._changed: set[str] = set()

    def receive(self, batches: Iterable[trace_pb2.ResourceSpans]) -> int:
        """Keep what an exporter sent; a span that comes twice counts once. Returns how many spans were refused."""
        return sum(self.receiving(batches))

    def receiving(self, batches: Iterable[trace_pb2.ResourceSpans]) -> Iterator[int]:
        """The same, by and by: a large export takes seconds, in which others have their turn. How many each time."""
        spans = otlp.spans(batches)
        while some := list(islice(spans, AT_ONCE)):
            yield self._receive(some)

    def _receive(self, spans: Iterable[tuple[str, Span]]) -> int:
        kept = [self._keep(trace_id, span) for trace_id, span in spans]
        self.forget()
        metrics.spans_received.inc(len(kept))
        metrics.spans_refused.inc(kept.count(False))
        return kept.count(False)

    def receive_lines(self, batches: Iterable[logs_pb2.ResourceLogs]) -> int:
        """Keep the lines that were written for some trace. Returns how many of them were refused."""
        lines = ((trace_id, line) for trace_id, line in otlp.lines(batches) if trace_id)
        kept = [otlp.is_trace(trace_id) and self._keep_line(trace_id, line) for trace_id, line in lines]
        self.forget()
        metrics.lines_received.inc(len(kept))
        metrics.lines_refused.inc(kept.count(False))
        return kept.count(False)

    def _keep(self, trace_id: str, span: Span) -> bool:
        if not otlp.is_valid(trace_id, span):
            return False
        trace = self._find(trace_id) or self._begin(trace_id)
        with self._changing(trace):
            return trace.add_span(span, self._max_bytes // TRACES_IN_FULL)

    def _keep_line(self, trace_id: str, line: Line) -> bool:
        trace, packed = self._find(trace_id), pack_line(line)
        if trace is None:
            return self._recent.add(trace_id, packed)
        with self._changing(trace):
            return trace.add_line(packed, self._max_bytes // TRACES_IN_FULL)

    def _begin(self, trace_id: str) -> Trace:
        trace = Trace(trace_id, self._clock())
        for packed in self._recent.take(trace_id):
            trace.add_line(packed, self._max_bytes // TRACES_IN_FULL)
        self._others.add(trace)
        return trace

    @contextmanager
    def _changing(self, trace: Trace) -> Iterator[None]:
        """What grows here is counted, and counts as ours from its first span of ours on."""
        pool, before = self._pool(trace), trace.size
        self._changed.add(trace.trace_id)
        yield
        pool.size += trace.size - before
        if not trace.span_count:
            pool.remove(trace)
        elif pool is not self._pool(trace):
            pool.remove(trace)
            self._pool(trace).add(trace)

    def _pool(self, trace: Trace) -> Pool:
        return self._own if trace.own else self._others

    def _find(self, trace_id: str) -> Trace | None:
        return self._own.traces.get(trace_id) or self._others.traces.get(trace_id)

    def forget(self) -> None:
        """Drop what is too old, and the oldest while there is too much."""
        for pool in (self._own, self._others):
            while (trace := pool.oldest()) and trace.arrived < self._clock() - self._kept_seconds:
                self._evict(pool, trace)
        while self._own.size + self._others.size > self._max_bytes:
            pool = self._others if self._others.size > self._max_bytes // 2 else self._own
            self._evict(pool, next(iter(pool.traces.values())))

    def _evict(self, pool: Pool, trace: Trace) -> None:
        pool.remove(trace)
        self._changed.add(trace.trace_id)
        metrics.traces_evicted.inc()

    def changes(self) -> dict[str, tuple[float, bytes] | None]:
        """What has changed since it was last asked: by id, when it came and its packed content, or None if it went."""
        changed, self._changed = self._changed, set()
        found = {trace_id: self._find(trace_id) for trace_id in changed}
        return {trace_id: (trace.arrived, trace.pack()) if trace else None for trace_id, trace in found.items()}

    def put_back(self, trace_ids: Iterable[str]) -> None:
        """Count these as changed again: they could not be written."""
        self._changed.update(trace_ids)

    def restore(self, traces: Iterable[tuple[str, float, bytes]]) -> int:
        """Take up what was written. Returns how many rows could not be read."""
        unreadable = 0
        for row in traces:
            try:
                trace = Trace.unpack(*row)
            except ValueError:
                unreadable += 1
            else:
                self._pool(trace).add(trace)
        self.forget()
        return unreadable

    def summaries(self, operation: str, limit: int, seconds: float = inf, end: float = inf) -> list[Summary]:
        """The slowest kept traces of an operation, or of all where it is empty: those that began in so many seconds up
        to an end, or to now.
        """
        low = (end if isfinite(end) else self._clock()) - seconds
        found = (trace.summary() for pool in (self._own, self._others) for trace in list(pool.traces.values()))
        matching = [one for one in found if operation in ("", one.operation) and low <= one.start / 1e9 < end]
        return sorted(matching, key=lambda one: (-one.duration, one.trace_id))[:limit]

    def open(self, trace_id: str) -> Opened:
        """One kept trace. Raises TraceNotFound."""
        trace = self._find(trace_id)
        if trace is None:
            raise TraceNotFound(trace_id)
        spans = _entered(trace.spans())
        return Opened(trace.summary(), place(spans), critical_path(spans), labels(spans), trace.lines())

    @property
    def trace_count(self) -> int:
        """How many traces are held."""
        return len(self._own.traces) + len(self._others.traces)

    @property
    def line_count(self) -> int:
        """How many log lines are held, with their traces and before these."""
        return self._own.line_count + self._others.line_count + self._recent.count

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._own.size + self._others.size + self._recent.size
