"""OTLP in, bounded, and a trace out again with its critical path."""

from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from services.runtime.errors import TraceNotFound
from services.runtime.span_wire import Kind
from services.traces.collector import Collector
from services.traces.critical_path import shares

T0 = 1_700_000_000_000_000_000


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _span(trace: int, number: int, parent: int, start: int, end: int, **more: Any) -> otlp.Span:
    parent_id = parent.to_bytes(8) if parent else b""
    span_id = number.to_bytes(8)
    times: dict[str, Any] = {"start_time_unix_nano": T0 + start, "end_time_unix_nano": T0 + end}
    return otlp.Span(
        trace_id=trace.to_bytes(16), span_id=span_id, parent_span_id=parent_id, name=f"span {number}", **times, **more
    )


def _batch(service: str, *spans: otlp.Span) -> otlp.ResourceSpans:
    resource = Resource(attributes=[_text("service.name", service)])
    return otlp.ResourceSpans(resource=resource, scope_spans=[otlp.ScopeSpans(spans=spans)])


def test_a_foreign_trace_is_labelled_by_what_it_says() -> None:
    collector = Collector(1_000)
    sql = _span(1, 3, 2, 20, 80, kind=otlp.Span.SPAN_KIND_CLIENT, attributes=[_text("db.system", "postgresql")])
    server = _span(1, 2, 1, 10, 90, kind=otlp.Span.SPAN_KIND_SERVER)
    collector.receive([_batch("shop", server, sql), _batch("front", _span(1, 1, 0, 0, 100))])
    opened = collector.open((1).to_bytes(16).hex())
    assert shares(opened.path) == {"front": 20, "shop": 20, "shop/postgres": 60}
    assert (opened.summary.operation, opened.summary.duration, opened.summary.span_count) == ("span 1", 100, 3)
    assert [span.kind for span in opened.spans] == [Kind.INTERNAL, Kind.SERVER, Kind.POSTGRES]


def test_a_span_that_comes_twice_counts_once() -> None:
    collector = Collector(1_000)
    for _ in range(2):
        collector.receive([_batch("front", _span(1, 1, 0, 0, 100))])
    (summary,) = collector.summaries("", 10)
    assert summary.span_count == 1


def test_the_newest_traces_win() -> None:
    collector = Collector(10)
    for trace in range(1, 21):
        collector.receive([_batch("front", _span(trace, 1, 0, 0, trace))])
    assert [summary.duration for summary in collector.summaries("", 100)] == list(range(20, 10, -1))
    with pytest.raises(TraceNotFound):
        collector.open((1).to_bytes(16).hex())


def test_one_endless_trace_is_cut_and_the_exporter_told() -> None:
    collector = Collector(100_000)
    spans = [_span(1, number, 0, 0, 1) for number in range(1, 10_006)]
    assert collector.receive([_batch("front", *spans)]) == 5
