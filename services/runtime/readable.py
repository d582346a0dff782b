"""A recorded span as OpenTelemetry's read-only span, named and described by its semantic conventions."""

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from services.runtime.outcomes import CODES, UNKNOWN
from services.runtime.span_wire import KIND_ATTRIBUTE, LOOP_LAG, OK, Kind, Span

NAMESPACE = "neurectomy"
ERROR_TYPE = "error.type"
SCOPE = InstrumentationScope(NAMESPACE, version(NAMESPACE))
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
SERVER_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""The conventions' list: after any other code the server did its work, and its span is no error."""
STORES = {Kind.POSTGRES: "postgresql", Kind.NEO4J: "neo4j", Kind.REDIS: "redis"}
SPAN_KINDS = {
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.SERVER: SpanKind.SERVER,
    Kind.POSTGRES: SpanKind.CLIENT,
    Kind.NEO4J: SpanKind.CLIENT,
    Kind.REDIS: SpanKind.CLIENT,
    Kind.FOLLOWS: SpanKind.PRODUCER,
}


_KINDS = frozenset(Kind)


def readable(
    trace_id: int, span: Span, epoch: int, state: TraceState, resource: Resource, limits: SpanLimits
) -> ReadableSpan:
    """The span; `epoch` is what must be added to its times to make them nanoseconds since 1970."""
    kind = Kind(span.kind) if span.kind in _KINDS else Kind.INTERNAL
    parent = None
    if span.parent_id:
        parent = SpanContext(trace_id, int(span.parent_id), kind == Kind.SERVER, SAMPLED, state)
    return ReadableSpan(
        name=span.name.lstrip("/"),
        context=SpanContext(trace_id, int(span.span_id), False, SAMPLED, state),
        parent=parent,
        resource=resource,
        attributes=_within(limits, _attributes(span, kind)),
        events=_events(span, epoch)[: limits.max_events],
        kind=SPAN_KINDS.get(kind, SpanKind.INTERNAL),
        status=_status(span, kind),
        start_time=span.start + epoch,
        end_time=span.end + epoch,
        instrumentation_scope=SCOPE,
    )


@lru_cache(maxsize=1_000)
def resource_of(service: str, instance: int) -> Resource:
    """The process that recorded a span, whoever exports it: no two instances get one id."""
    return Resource(_identity(service, instance))


def own_resource(service: str, instance: int) -> Resource:
    """This process, with what OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say of it."""
    return Resource.create(_identity(service, instance)).merge(OTELResourceDetector().detect())


def _identity(service: str, instance: int) -> dict[str, Any]:
    return {
        "service.name": service,
        "service.namespace": NAMESPACE,
        "service.version": version(NAMESPACE),
        "service.instance.id": f"{service}-{instance:08x}",
    }


def _status(span: Span, kind: Kind) -> Status:
    code = CODES.get(span.status, str(span.status))
    if span.status == OK or (kind == Kind.SERVER and code not in SERVER_FAULTS):
        return Status(StatusCode.UNSET)
    return Status(StatusCode.ERROR, code)


def _attributes(span: Span, kind: Kind) -> dict[str, Any]:
    attributes = {KIND_ATTRIBUTE: int(kind), **_subject(span, kind), **(span.attributes or {})}
    if span.peer:
        attributes |= {"peer.service": span.peer, "service.peer.name": span.peer}
    if span.lag:
        attributes[LOOP_LAG] = span.lag
    if span.status != OK:
        attributes.setdefault(ERROR_TYPE, CODES.get(span.status, str(span.status)))
    return attributes


def _within(limits: SpanLimits, attributes: dict[str, Any]) -> Mapping[str, Any]:
    """As the SDK bounds them; where nothing is to be cut off that takes most of the time of making a span."""
    most, longest = limits.max_span_attributes, limits.max_span_attribute_length
    if longest is None and (most is None or len(attributes) <= most):
        return attributes
    return BoundedAttributes(most, attributes, max_value_len=longest)


def _subject(span: Span, kind: Kind) -> dict[str, Any]:
    """What the span is about: a statement, a call or a GraphQL operation."""
    if store := STORES.get(kind):
        operation = span.name.partition(" ")[0]
        return {"db.system.name": store, "db.operation.name": operation, "db.query.summary": span.name}
    if span.name.startswith("/"):
        code = CODES.get(span.status, str(span.status))
        return {"rpc.system.name": "grpc", "rpc.method": span.name[1:], "rpc.response.status_code": code}
    return _graphql(span.name) if kind == Kind.SERVER else {}


def _graphql(label: str) -> dict[str, Any]:
    """From `query Name 1a2b3c4d`."""
    kind, _, rest = label.partition(" ")
    if not rest:
        return {}  # a request that was refused before it was known to be an operation
    name, _, signature = rest.partition(" ")
    named = {} if name == "anonymous" else {"graphql.operation.name": name}
    return {"graphql.operation.type": kind, **named, "neurectomy.graphql.document.hash": signature}


def _events(span: Span, epoch: int) -> tuple[Event, ...]:
    """Of a bug, the type of its exception. Never its message, which may quote a caller."""
    kind = (span.attributes or {}).get(ERROR_TYPE)
    if span.status != UNKNOWN or kind is None:
        return ()
    return (Event("exception", {"exception.type": kind}, span.end + epoch),)
