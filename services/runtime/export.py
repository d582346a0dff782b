"""Kept spans as real OpenTelemetry: read-only spans with the recorded times, sent by the stock OTLP exporter."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from uuid_utils import uuid4

from services.runtime.span_wire import OK, Kind, Span, unpack

if TYPE_CHECKING:
    from services.runtime.telemetry import TraceContext

INSTANCE = str(uuid4())
SCOPE = InstrumentationScope("neurectomy", version("neurectomy"))
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
STORES = {Kind.POSTGRES: "postgresql", Kind.NEO4J: "neo4j", Kind.REDIS: "redis"}
SPAN_KINDS = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.SERVER: SpanKind.SERVER, Kind.POOL_WAIT: SpanKind.INTERNAL}


class SpanExport:
    """Where this process's kept spans go: nowhere, or to one or more OTLP end points, each from its own thread."""

    def __init__(self, service: str, processors: Iterable[BatchSpanProcessor] = ()) -> None:
        self._service = service
        self._processors = tuple(processors)

    def blob(self, trace: "TraceContext", blob: bytes) -> None:
        """Export a call that has just ended, from the blob that could not ride home."""
        spans = list(unpack(blob, trace.parent_id or 0, 0, 0)) if self._processors else []
        if spans:
            self.spans(trace.trace_id, spans, time.time_ns() - max(span.end for span in spans))

    def spans(self, trace_id: str, spans: Iterable[Span], epoch: int) -> None:
        """Export spans; `epoch` is what must be added to their times to make them nanoseconds since 1970."""
        for span in spans:
            readable = _readable(int(trace_id, 16), span, epoch, self._service)
            for processor in self._processors:
                processor.on_end(readable)


@contextmanager
def exporting(service: str, *endpoints: str | None) -> Iterator[SpanExport]:
    """An export to those of the end points that are given; flushed and closed at the end."""
    processors = [
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=2))
        for endpoint in endpoints
        if endpoint
    ]
    try:
        yield SpanExport(service, processors)
    finally:
        for processor in processors:
            processor.shutdown()  # type: ignore[no-untyped-call]


def _readable(trace_id: int, span: Span, epoch: int, own_service: str) -> ReadableSpan:
    context = SpanContext(trace_id, int(span.span_id), is_remote=False, trace_flags=SAMPLED)
    parent = SpanContext(trace_id, int(span.parent_id), is_remote=True, trace_flags=SAMPLED) if span.parent_id else None
    return ReadableSpan(
        name=span.name.lstrip("/"),
        context=context,
        parent=parent,
        resource=_resource(span.service, span.service == own_service),
        attributes=_attributes(span),
        kind=SPAN_KINDS.get(Kind(span.kind), SpanKind.CLIENT),
        status=Status(StatusCode.UNSET if span.status == OK else StatusCode.ERROR),
        start_time=span.start + epoch,
        end_time=span.end + epoch,
        instrumentation_scope=SCOPE,
    )


@cache
def _resource(service: str, own: bool) -> Resource:
    instance = {"service.instance.id": INSTANCE} if own else {}
    return Resource({"service.name": service, "service.version": version("neurectomy"), **instance})


def _attributes(span: Span) -> dict[str, Any]:
    attributes: dict[str, Any] = {"neurectomy.kind": int(span.kind), **(span.attributes or {})}
    if store := STORES.get(Kind(span.kind)):
        attributes |= {"db.system.name": store, "db.query.summary": span.name}
    elif span.name.startswith("/"):
        service, _, method = span.name[1:].partition("/")
        attributes |= {"rpc.system.name": "grpc", "rpc.service": service, "rpc.method": method}
        attributes["rpc.response.status_code"] = span.status
    if span.peer:
        attributes["peer.service"] = span.peer
    return attributes
