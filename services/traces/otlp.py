"""What OTLP says, in our own terms: spans and log lines, from our own processes and from anyone else's."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from services.runtime.span_wire import KIND_ATTRIBUTE, LOOP_LAG, Kind, Span

STATUS_ATTRIBUTE = "otel.status_description"
"""Where OpenTelemetry puts the text of a status in formats that have no room of their own for it."""
STORES = {"postgresql": Kind.POSTGRES, "neo4j": Kind.NEO4J, "redis": Kind.REDIS}
RPC_KINDS = {
    trace_pb2.Span.SPAN_KIND_SERVER: Kind.SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT: Kind.CLIENT,
    trace_pb2.Span.SPAN_KIND_PRODUCER: Kind.FOLLOWS,
    trace_pb2.Span.SPAN_KIND_CONSUMER: Kind.FOLLOWS,
}
SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""Each stands for four severity numbers, from 1 on."""
MAX_TEXT = 8_000
"""Characters; what is longer is cut."""
MAX_ATTRIBUTES = 128
LATEST = 2**63 - 1
"""Nanoseconds since 1970, in the year 2262."""

Attributes = Mapping[str, str | int | float | bool]


class Line(msgspec.Struct, frozen=True, array_like=True):
    """A line of a log; `time` in nanoseconds since 1970."""

    time: int
    service: str
    severity: str
    text: str
    attributes: dict[str, str | int | float | bool]
    span_id: str = ""


def spans(batches: Iterable[trace_pb2.ResourceSpans]) -> Iterator[tuple[str, Span]]:
    """The spans of an export, each with its trace's id."""
    for batch in batches:
        service = _service(batch)
        for scope in batch.scope_spans:
            for span in scope.spans:
                yield span.trace_id.hex(), _span(service, span)


def lines(batches: Iterable[logs_pb2.ResourceLogs]) -> Iterator[tuple[str, Line]]:
    """The log lines of an export, each with its trace's id, which is empty where it was written for none."""
    for batch in batches:
        service = _service(batch)
        for scope in batch.scope_logs:
            for record in scope.log_records:
                yield record.trace_id.hex(), _line(service, record)


def is_trace(trace_id: str) -> bool:
    """Whether it is as long as OTLP has them: what is held by a name must be as small as it is counted."""
    return len(trace_id) == 32


def is_valid(trace_id: str, span: Span) -> bool:
    """Whether its ids and times are such as OTLP has them, and can be answered with."""
    return is_trace(trace_id) and len(str(span.span_id)) == 16 and span.end <= LATEST


def is_own(span: Span) -> bool:
    """Whether it says that one of our processes has recorded it."""
    return KIND_ATTRIBUTE in (span.attributes or {})


def _service(batch: trace_pb2.ResourceSpans | logs_pb2.ResourceLogs) -> str:
    return str(_attributes(batch.resource.attributes).get("service.name", "unknown"))


def _span(service: str, span: trace_pb2.Span) -> Span:
    attributes = _attributes(span.attributes)
    if span.status.message:
        attributes[STATUS_ATTRIBUTE] = span.status.message[:MAX_TEXT]
    return Span(
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        service=service,
        kind=_kind(span, attributes),
        name=span.name[:MAX_TEXT],
        start=span.start_time_unix_nano,
        end=max(span.start_time_unix_nano, span.end_time_unix_nano),
        status=int(span.status.code == trace_pb2.Status.STATUS_CODE_ERROR),
        attributes=attributes,
        peer=str(attributes.get("peer.service", "")),
        lag=_natural(attributes.get(LOOP_LAG)),
    )


def _kind(span: trace_pb2.Span, attributes: Attributes) -> int:
    """Ours say it; of foreign ones, a client span to a database is that store's, and the span kind says the rest."""
    own = attributes.get(KIND_ATTRIBUTE)
    if type(own) is int and own in set(Kind):  # True is equal to 1, and cannot be read back
        return own
    system = attributes.get("db.system.name") or attributes.get("db.system")
    return STORES.get(str(system)) or RPC_KINDS.get(span.kind, Kind.INTERNAL)


def _natural(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _line(service: str, record: logs_pb2.LogRecord) -> Line:
    return Line(
        time=min(record.time_unix_nano or record.observed_time_unix_nano, LATEST),
        service=service,
        severity=_severity(record),
        text=_text(_value(record.body)),
        attributes=_attributes(record.attributes),
        span_id=record.span_id.hex(),
    )


def _severity(record: logs_pb2.LogRecord) -> str:
    if record.severity_number:
        return SEVERITIES[min((record.severity_number - 1) // 4, len(SEVERITIES) - 1)]
    return record.severity_text.upper()


def _attributes(pairs: Iterable[Any]) -> dict[str, str | int | float | bool]:
    """Lists, maps and bytes become JSON; long texts are cut, and what is too much is left out."""
    found = {pair.key: _scalar(_value(pair.value)) for pair in pairs}
    return found if len(found) <= MAX_ATTRIBUTES else dict(list(found.items())[:MAX_ATTRIBUTES])


def _scalar(value: Any) -> str | int | float | bool:
    return value if isinstance(value, int | float) else _text(value)


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:MAX_TEXT]


def _value(value: Any) -> Any:
    match value.WhichOneof("value"):
        case None:
            return ""
        case "array_value":
            return [_value(one) for one in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _value(pair.value) for pair in value.kvlist_value.values}
        case "bytes_value":
            return value.bytes_value.hex()
        case kind:
            return getattr(value, kind)
