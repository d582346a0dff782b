"""What our own exporter writes is what was recorded; what others write is taken as far as it makes sense."""

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import TraceState

from services.runtime.readable import readable, resource_of
from services.runtime.span_wire import Kind, Span
from services.traces.collector import Collector
from services.traces.critical_path import calls, critical_path, shares

MS = 1_000_000
EPOCH = 1_700_000_000_000_000_000
TRACE = 0xABC
RECORDED = [
    Span(1 << 63, None, "gateway", Kind.SERVER, "query Agents 1a2b3c4d", 0, 100 * MS),
    Span(2, 1 << 63, "gateway", Kind.FIELD, "Agent.owner", 2 * MS, 90 * MS),
    Span(3, 1 << 63, "gateway", Kind.CLIENT, "/a.graph.v1.G/Walk", 5 * MS, 90 * MS, 4, None, "graph", 2 * MS),
    Span(4, 3, "graph", Kind.SERVER, "/a.graph.v1.G/Walk", 15 * MS, 85 * MS, 4, {"a": 1.5}, "", 7 * MS),
    Span(5, 4, "graph", Kind.NEO4J, "MATCH", 20 * MS, 50 * MS),
    Span(6, 4, "graph", Kind.POOL_WAIT, "pool wait", 60 * MS, 61 * MS),
    Span(7, 4, "graph", Kind.FOLLOWS, "later", 61 * MS, 84 * MS),
]


def _exported(spans: list[Span]) -> list[trace_pb2.ResourceSpans]:
    """As our own processes export them."""
    written = [readable(TRACE, span, EPOCH, TraceState(), resource_of(span.service, 1), SpanLimits()) for span in spans]
    return list(encode_spans(written).resource_spans)


def test_a_kept_trace_owes_its_time_to_whom_the_request_was_counted_for() -> None:
    collector = Collector(10**8, 1.0, clock=lambda: EPOCH / 1e9)
    assert collector.receive(_exported(RECORDED[::-1])) == 0
    opened, path = collector.open(TRACE.to_bytes(16).hex()), critical_path(RECORDED)
    assert shares(opened.path) == shares(path)
    assert calls(opened.path) == calls(path)
    assert {"graph/loop", "gateway/loop", "graph/neo4j", "graph/pool wait"} <= shares(path).keys()
    kept = {int(str(span.span_id), 16): span for span in opened.spans}
    for span in RECORDED:
        found = kept[int(span.span_id)]
        assert (found.kind, found.service, found.peer, found.lag) == (span.kind, span.service, span.peer, span.lag)
        assert (found.start - EPOCH, found.end - EPOCH) == (span.start, span.end)
        assert dict(span.attributes or {}).items() <= dict(found.attributes or {}).items()
    assert {span_id for span_id, span in kept.items() if span.status} == {3, 4}


NONSENSE = {
    "no trace": {"trace_id": b""},
    "half a trace": {"trace_id": b"\1" * 8},
    "no id": {"span_id": b""},
    "an end after 2262": {"end_time_unix_nano": 2**64 - 1},
    "a begin after 2262": {"start_time_unix_nano": 2**63},
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_and_the_rest_kept(nonsense: dict[str, object]) -> None:
    collector = Collector(10**8, 1.0)
    good = {"trace_id": b"\1" * 16, "span_id": b"\2" * 8, "start_time_unix_nano": 5, "end_time_unix_nano": 9}
    spans = [trace_pb2.Span(**each) for each in ({**good, **nonsense}, good)]  # type: ignore[arg-type]
    assert collector.receive([trace_pb2.ResourceSpans(scope_spans=[trace_pb2.ScopeSpans(spans=spans)])]) == 1
    assert [summary.duration for summary in collector.summaries("", 10)] == [4]


@pytest.mark.parametrize("key", ["neurectomy.kind", "neurectomy.loop_lag_ns"])
def test_a_span_that_says_true_for_a_number_can_be_read_again(key: str) -> None:
    collector = Collector(10**8, 1.0)
    true = KeyValue(key=key, value=AnyValue(bool_value=True))
    span = trace_pb2.Span(trace_id=b"\1" * 16, span_id=b"\2" * 8, end_time_unix_nano=9, attributes=[true])
    collector.receive([trace_pb2.ResourceSpans(scope_spans=[trace_pb2.ScopeSpans(spans=[span])])])
    assert [summary.duration for summary in collector.summaries("", 10)] == [9]
