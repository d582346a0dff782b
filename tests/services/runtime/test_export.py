"""What leaves by OTLP, field by field, at plain sinks; what the OTEL_* variables do; and what a dead back end costs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from services.runtime.export import INSTANCE, SpanExport, exporting
from services.runtime.settings import Settings, load
from services.runtime.span_wire import Kind, Span
from services.runtime.trace_context import TraceContext
from tests.services.runtime.otlp_sinks import Sink, grpc_sink, http_sink, values

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", 0x00F067AA0BA902B7
METHOD = "/neurectomy.graph.v1.GraphService/BatchTraverse"
GATEWAY, GRAPH = INSTANCE << 32 | 100, (INSTANCE ^ 6) << 32 | 200
EPOCH = 1_700_000_000_000_000_000
CLIENT, SERVER, INTERNAL = otlp.Span.SPAN_KIND_CLIENT, otlp.Span.SPAN_KIND_SERVER, otlp.Span.SPAN_KIND_INTERNAL
REMOTE = otlp.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
UNSET, ERROR = otlp.Status.STATUS_CODE_UNSET, otlp.Status.STATUS_CODE_ERROR


def trace() -> list[Span]:
    """A GraphQL query that waits for the graph, whose statement meets a bug."""
    bug: dict[str, str | int | float | bool] = {"error.type": "KeyError"}
    return [
        Span(GATEWAY, PARENT, "gateway", Kind.SERVER, "query Ask 1a2b3c4d", 0, 1_000_000),
        Span(GATEWAY + 1, GATEWAY, "gateway", Kind.CLIENT, METHOD, 100_000, 900_000, 13, peer="graph"),
        Span(GRAPH, GATEWAY + 1, "graph", Kind.SERVER, METHOD, 200_000, 800_000, 13),
        Span(GRAPH + 1, GRAPH, "graph", Kind.POOL_WAIT, "acquire connection", 210_000, 230_000),
        Span(GRAPH + 2, GRAPH, "graph", Kind.NEO4J, "MATCH agents", 300_000, 600_000, 2, bug),
    ]


RPC = {"rpc.system.name": "grpc", "rpc.method": METHOD[1:], "rpc.response.status_code": "INTERNAL"}
EXPECTED: list[dict[str, Any]] = [
    {
        "id": GATEWAY,
        "parent": PARENT,
        "name": "query Ask 1a2b3c4d",
        "kind": SERVER,
        "times": (0, 1_000_000),
        "status": (UNSET, ""),
        "attributes": {
            "neurectomy.kind": 2,
            "graphql.operation.type": "query",
            "graphql.operation.name": "Ask",
            "neurectomy.graphql.document.hash": "1a2b3c4d",
        },
        "events": [],
        "resource": ("gateway", INSTANCE),
    },
    {
        "id": GATEWAY + 1,
        "parent": GATEWAY,
        "name": METHOD[1:],
        "kind": CLIENT,
        "times": (100_000, 900_000),
        "status": (ERROR, "INTERNAL"),
        "attributes": {
            "neurectomy.kind": 1,
            **RPC,
            "peer.service": "graph",
            "service.peer.name": "graph",
            "error.type": "INTERNAL",
        },
        "events": [],
        "resource": ("gateway", INSTANCE),
    },
    {
        "id": GRAPH,
        "parent": GATEWAY + 1,
        "name": METHOD[1:],
        "kind": SERVER,
        "times": (200_000, 800_000),
        "status": (ERROR, "INTERNAL"),
        "attributes": {"neurectomy.kind": 2, **RPC, "error.type": "INTERNAL"},
        "events": [],
        "resource": ("graph", INSTANCE ^ 6),
    },
    {
        "id": GRAPH + 1,
        "parent": GRAPH,
        "name": "acquire connection",
        "kind": INTERNAL,
        "times": (210_000, 230_000),
        "status": (UNSET, ""),
        "attributes": {"neurectomy.kind": 6},
        "events": [],
        "resource": ("graph", INSTANCE ^ 6),
    },
    {
        "id": GRAPH + 2,
        "parent": GRAPH,
        "name": "MATCH agents",
        "kind": CLIENT,
        "times": (300_000, 600_000),
        "status": (ERROR, "UNKNOWN"),
        "attributes": {
            "neurectomy.kind": 4,
            "db.system.name": "neo4j",
            "db.operation.name": "MATCH",
            "db.query.summary": "MATCH agents",
            "error.type": "KeyError",
        },
        "events": [("exception", EPOCH + 600_000, {"exception.type": "KeyError"})],
        "resource": ("graph", INSTANCE ^ 6),
    },
]


def settings(**changes: Any) -> Settings:
    """What a process would read from its environment."""
    return load(Settings).model_copy(update=changes)


Transport = Callable[[], AbstractContextManager[Sink]]
TRANSPORTS = {"grpc": grpc_sink, "http/protobuf": http_sink}


@contextmanager
def sent(
    monkeypatch: pytest.MonkeyPatch, protocol: str = "grpc", **environment: str
) -> Iterator[tuple[Sink, SpanExport]]:
    """An export to a sink; everything has arrived after the `with`."""
    with TRANSPORTS[protocol]() as sink:
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, **environment}
        for key, value in given.items():
            monkeypatch.setenv(key, value)
        with exporting("gateway", settings()) as export:
            yield sink, export


def seen(resource: dict[str, Any], span: otlp.Span) -> dict[str, Any]:
    """A span as EXPECTED says it."""
    assert span.trace_id.hex() == TRACE
    assert span.trace_state == "congo=1"
    remote = otlp.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | (REMOTE if span.kind == SERVER else 0)
    assert span.flags == remote  # whether its parent is in another process
    assert (span.dropped_attributes_count, span.dropped_events_count, list(span.links)) == (0, 0, [])
    assert resource["service.namespace"] == "neurectomy"
    assert resource["service.version"]
    service, _, instance = resource["service.instance.id"].rpartition("-")
    assert service == resource["service.name"]
    return {
        "id": int.from_bytes(span.span_id),
        "parent": int.from_bytes(span.parent_span_id),
        "name": span.name,
        "kind": span.kind,
        "times": (span.start_time_unix_nano - EPOCH, span.end_time_unix_nano - EPOCH),
        "status": (span.status.code, span.status.message),
        "attributes": values(span.attributes),
        "events": [(each.name, each.time_unix_nano, values(each.attributes)) for each in span.events],
        "resource": (service, int(instance, 16)),
    }


@pytest.mark.parametrize("protocol", TRANSPORTS)
def test_every_field_of_every_span_arrives(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with sent(monkeypatch, protocol) as (sink, export):
        export.spans(TRACE, trace(), EPOCH, "congo=1")
    assert [seen(*each) for each in sink.spans()] == EXPECTED
    assert len(sink.resource_spans) == 2  # one for each instance, not for each span
    for batch in sink.resource_spans:
        [scope] = batch.scope_spans
        assert (scope.scope.name, bool(scope.scope.version)) == ("neurectomy", True)


SAMPLERS = [
    ("parentbased_always_off", (False, True, False)),
    ("parentbased_always_on", (True, True, False)),
    ("always_on", (True, True, True)),
    ("always_off", (False, False, False)),
    ("traceidratio", (False, False, False)),
    ("parentbased_traceidratio", (False, True, False)),
]


@pytest.mark.parametrize(("sampler", "expected"), SAMPLERS)
def test_a_sampler_decides_for_calls_of_strangers(
    sampler: str, expected: tuple[bool, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    parents = (TraceContext(TRACE), TraceContext(TRACE, PARENT, sampled=True), TraceContext(TRACE, PARENT))
    with exporting("graph", settings()) as export:
        assert tuple(export.sampled(parent, METHOD) for parent in parents) == expected
