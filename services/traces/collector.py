"""Kept traces: OTLP in from anyone, a bounded number of spans held, the newest traces winning."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from services.runtime.errors import TraceNotFound
from services.runtime.span_wire import Kind
from services.traces.critical_path import Path, Span, critical_path, place

KIND_ATTRIBUTE = "neurectomy.kind"
STORES = {"postgresql": Kind.POSTGRES, "neo4j": Kind.NEO4J, "redis": Kind.REDIS}
RPC_KINDS = {
    otlp.Span.SPAN_KIND_SERVER: Kind.SERVER,
    otlp.Span.SPAN_KIND_CLIENT: Kind.CLIENT,
    otlp.Span.SPAN_KIND_PRODUCER: Kind.FOLLOWS,
    otlp.Span.SPAN_KIND_CONSUMER: Kind.FOLLOWS,
}
MAX_SPANS_PER_TRACE = 10_000


@dataclass(frozen=True, slots=True)
class Summary:
    """A kept trace in a line; `start` in nanoseconds since 1970, `duration` in nanoseconds."""

    trace_id: str
    operation: str
    start: int
    duration: int
    span_count: int
    failed: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """A kept trace with its spans placed, parents before children, and its critical path."""

    summary: Summary
    spans: list[Span]
    path: Path


class Collector:
    """Kept traces by id, in the order in which their first span came."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0
        self._traces: OrderedDict[str, dict[str, Span]] = OrderedDict()

    def receive(self, batches: Iterable[otlp.ResourceSpans]) -> int:
        """Keep what an exporter sent; a span that comes twice counts once. Returns how many spans were refused."""
        refused = 0
        for trace_id, span in _spans(batches):
            refused += not self._keep(trace_id, span)
        while self._size > self._capacity:
            self._size -= len(self._traces.popitem(last=False)[1])
        return refused

    def _keep(self, trace_id: str, span: Span) -> bool:
        spans = self._traces.setdefault(trace_id, {})
        key = str(span.span_id)
        if key not in spans:
            if len(spans) >= MAX_SPANS_PER_TRACE:
                return False
            self._size += 1
        spans[key] = span
        return True

    def summaries(self, operation: str, limit: int) -> list[Summary]:
        """The slowest kept traces, of one operation or, where that is empty, of all."""
        found = (_summary(trace_id, list(spans.values())) for trace_id, spans in self._traces.items())
        matching = [summary for summary in found if operation in ("", summary.operation)]
        return sorted(matching, key=lambda summary: (-summary.duration, summary.trace_id))[:limit]

    def open(self, trace_id: str) -> Opened:
        """One kept trace. Raises TraceNotFound."""
        spans = self._traces.get(trace_id)
        if not spans:
            raise TraceNotFound(trace_id)
        recorded = list(spans.values())
        return Opened(_summary(trace_id, recorded), place(recorded), critical_path(recorded))


def _summary(trace_id: str, spans: list[Span]) -> Summary:
    tops = [span for span in spans if span.parent_id is None] or spans
    root = max(tops, key=lambda span: (span.end - span.start, str(span.span_id)))
    failed = any(span.status for span in spans)
    return Summary(trace_id, root.name, root.start, root.end - root.start, len(spans), failed)


def _spans(batches: Iterable[otlp.ResourceSpans]) -> Iterator[tuple[str, Span]]:
    for batch in batches:
        service = str(_attributes(batch.resource.attributes).get("service.name", "unknown"))
        for scope in batch.scope_spans:
            for span in scope.spans:
                yield span.trace_id.hex(), _span(service, span)


def _span(service: str, span: otlp.Span) -> Span:
    attributes = _attributes(span.attributes)
    return Span(
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        service=service,
        kind=_kind(span, attributes),
        name=span.name,
        start=span.start_time_unix_nano,
        end=max(span.start_time_unix_nano, span.end_time_unix_nano),
        status=int(span.status.code == otlp.Status.STATUS_CODE_ERROR),
        peer=str(attributes.get("peer.service", "")),
    )


def _kind(span: otlp.Span, attributes: dict[str, Any]) -> int:
    """Ours say it; of foreign ones, a client span to a database is that store's, and the span kind says the rest."""
    own = attributes.get(KIND_ATTRIBUTE)
    if isinstance(own, int) and own in set(Kind):
        return own
    system = attributes.get("db.system.name") or attributes.get("db.system")
    return STORES.get(str(system)) or RPC_KINDS.get(span.kind, Kind.INTERNAL)


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}
