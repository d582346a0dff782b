"""OTLP in, bounded, and a trace out again with its critical path."""

import asyncio
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from services.runtime.errors import TraceNotFound
from services.runtime.span_wire import Kind
from services.traces.collector import AT_ONCE, Collector
from services.traces.critical_path import shares
from services.traces.otlp import STATUS_ATTRIBUTE
from services.traces.service import OtlpTraces

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


def _log(trace: int, text: str, time: int = 0, **more: Any) -> LogRecord:
    trace_id = trace.to_bytes(16) if trace else b""
    return LogRecord(trace_id=trace_id, time_unix_nano=T0 + time, body=AnyValue(string_value=text), **more)


def _logs(service: str, *records: LogRecord) -> ResourceLogs:
    resource = Resource(attributes=[_text("service.name", service)])
    return ResourceLogs(resource=resource, scope_logs=[ScopeLogs(log_records=records)])


def _id(trace: int) -> str:
    return trace.to_bytes(16).hex()


OWN = KeyValue(key="neurectomy.kind", value=AnyValue(int_value=0))


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = T0 / 1e9

    def __call__(self) -> float:
        return self.now


def collector_of(max_bytes: int = 10**9, clock: Clock | None = None) -> Collector:
    return Collector(max_bytes, 1.0, clock or Clock())


def test_a_foreign_trace_is_labelled_by_what_it_says() -> None:
    collector = collector_of()
    sql = _span(1, 3, 2, 20, 80, kind=otlp.Span.SPAN_KIND_CLIENT, attributes=[_text("db.system", "postgresql")])
    server = _span(1, 2, 1, 10, 90, kind=otlp.Span.SPAN_KIND_SERVER)
    collector.receive([_batch("shop", server, sql), _batch("front", _span(1, 1, 0, 0, 100))])
    opened = collector.open(_id(1))
    assert shares(opened.path) == {"front": 20, "shop": 20, "shop/postgres": 60}
    assert (opened.summary.operation, opened.summary.duration, opened.summary.span_count) == ("span 1", 100, 3)
    assert opened.summary.services == ("front", "shop")
    assert [span.kind for span in opened.spans] == [Kind.INTERNAL, Kind.SERVER, Kind.POSTGRES]


def test_a_span_that_comes_twice_counts_once() -> None:
    collector = collector_of()
    for _ in range(2):
        collector.receive([_batch("front", _span(1, 1, 0, 0, 100))])
        size = collector.size
    (summary,) = collector.summaries("", 10)
    assert (summary.span_count, collector.size) == (1, size)


@pytest.mark.parametrize(("attributes", "missing"), [([], False), ([_text("rpc.method", "a.B/C")], True)])
def test_the_parent_of_a_gateways_operation_lies_outside_and_is_not_missing(
    attributes: list[KeyValue], missing: bool
) -> None:
    own = KeyValue(key="neurectomy.kind", value=AnyValue(int_value=Kind.SERVER))
    span = _span(1, 1, 7, 0, 100, attributes=[own, *attributes])
    collector = collector_of()
    collector.receive([_batch("gateway", span)])
    assert collector.open(_id(1)).path.incomplete == missing


def test_the_newest_traces_win() -> None:
    collector = collector_of(10_000)
    for trace in range(1, 101):
        collector.receive([_batch("front", _span(trace, 1, 0, 0, trace))])
        assert collector.size <= 10_000
    kept = [summary.duration for summary in collector.summaries("", 1_000)]
    assert kept == list(range(100, 100 - len(kept), -1))
    assert 20 < len(kept) < 60
    with pytest.raises(TraceNotFound):
        collector.open(_id(1))


def test_what_is_too_old_goes() -> None:
    clock = Clock()
    collector = collector_of(clock=clock)
    for trace in (1, 2):
        collector.receive([_batch("front", _span(trace, 1, 0, 0, 1))])
        clock.now += 1_801
    collector.forget()
    assert [summary.trace_id for summary in collector.summaries("", 10)] == [_id(2)]


def test_a_flood_of_others_leaves_ours_and_a_flood_of_ours_leaves_others() -> None:
    for flooding, quiet in (([], [OWN]), ([OWN], [])):
        collector = collector_of(100_000)
        for trace in range(1, 101):
            collector.receive([_batch("quiet", _span(trace, 1, 0, 0, 1, attributes=quiet))])
        for trace in range(1_000, 3_000):
            collector.receive([_batch("flood", _span(trace, 1, 0, 0, 1, attributes=flooding))])
        services = [summary.services for summary in collector.summaries("", 10_000)]
        assert services.count(("quiet",)) == 100
        assert services.count(("flood",)) > 100
        assert collector.size <= 100_000


def test_a_trace_counts_as_ours_from_its_first_span_of_ours_on() -> None:
    collector = collector_of(100_000)
    collector.receive([_batch("client", _span(1, 1, 0, 0, 9)), _batch("ours", _span(1, 2, 1, 0, 1, attributes=[OWN]))])
    for trace in range(1_000, 3_000):
        collector.receive([_batch("flood", _span(trace, 1, 0, 0, 1))])
    assert collector.open(_id(1)).summary.span_count == 2


def test_one_endless_trace_is_cut_and_the_exporter_told() -> None:
    collector = collector_of()
    spans = [_span(1, number, 0, 0, 1) for number in range(1, 10_006)]
    assert collector.receive([_batch("front", *spans)]) == 5
    large = collector_of(80_000)
    assert large.receive([_batch("front", *spans[:1_000])]) > 900
    assert large.size <= 10_000


def test_spans_say_all_they_said() -> None:
    attributes = [
        _text("text", "x" * 9_000),
        KeyValue(key="number", value=AnyValue(double_value=1.5)),
        KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)]))),
        KeyValue(key="none", value=AnyValue()),
    ]
    status = otlp.Status(code=otlp.Status.STATUS_CODE_ERROR, message="out of paper")
    collector = collector_of()
    collector.receive([_batch("front", _span(1, 1, 0, 0, 1, attributes=attributes, status=status))])
    (span,) = collector.open(_id(1)).spans
    assert span.status == 1
    assert span.attributes == {
        "text": "x" * 8_000,
        "number": 1.5,
        "list": "[1]",
        "none": "",
        STATUS_ATTRIBUTE: "out of paper",
    }


@pytest.mark.parametrize("first", ["spans", "lines"])
def test_log_lines_find_their_trace_whichever_comes_first(first: str) -> None:
    collector = collector_of()
    spans, lines = [_batch("front", _span(1, 1, 0, 0, 100))], [_logs("shop", _log(1, "b", 5), _log(1, "a", 3))]
    for what in (first, "spans", "lines"):  # what came first comes twice
        collector.receive(spans) if what == "spans" else collector.receive_lines(lines)
    assert [(line.service, line.text, line.time) for line in collector.open(_id(1)).lines] == [
        ("shop", "a", T0 + 3),
        ("shop", "b", T0 + 5),
    ]


@pytest.mark.parametrize(
    ("more", "severity"),
    [
        ({"severity_number": 9, "severity_text": "Information"}, "INFO"),
        ({"severity_number": 12}, "INFO"),
        ({"severity_number": 13}, "WARN"),
        ({"severity_number": 24}, "FATAL"),
        ({"severity_text": "notice"}, "NOTICE"),
        ({}, ""),
    ],
)
def test_severities_are_named_as_opentelemetry_names_them(more: dict[str, Any], severity: str) -> None:
    collector = collector_of()
    collector.receive([_batch("front", _span(1, 1, 0, 0, 100))])
    collector.receive_lines([_logs("shop", _log(1, "a", attributes=[_text("k", "v")], span_id=b"\1" * 8, **more))])
    (line,) = collector.open(_id(1)).lines
    assert (line.severity, line.attributes, line.span_id) == (severity, {"k": "v"}, "01" * 8)


def test_lines_of_traces_that_are_never_kept_crowd_nothing_out() -> None:
    collector = collector_of(100_000)
    collector.receive([_batch("front", _span(1, 1, 0, 0, 100))])
    collector.receive_lines([_logs("shop", _log(1, "kept"), _log(0, "of no trace"))])
    for trace in range(2, 2_000):
        collector.receive_lines([_logs("shop", _log(trace, "never kept"))])
        assert collector.size <= 112_500
    collector.receive([_batch("front", _span(1_999, 1, 0, 0, 100), _span(2, 1, 0, 0, 100))])
    assert [line.text for line in collector.open(_id(1)).lines] == ["kept"]
    assert [line.text for line in collector.open(_id(1_999)).lines] == ["never kept"]
    assert collector.open(_id(2)).lines == []


@pytest.mark.parametrize("kept", [True, False])
def test_an_endless_log_is_cut_and_the_exporter_told(kept: bool) -> None:
    collector = collector_of()
    spans = [_batch("front", _span(1, 1, 0, 0, 100))]
    if kept:
        collector.receive(spans)
    assert collector.receive_lines([_logs("shop", *(_log(1, f"{number}") for number in range(1_003)))]) == 3
    collector.receive(spans)
    assert len(collector.open(_id(1)).lines) == 1_000


def test_traces_are_listed_by_when_they_began() -> None:
    collector = collector_of()
    for trace in (1, 2, 3):
        collector.receive([_batch("front", _span(trace, 1, 0, trace * 10**9, trace * 10**9 + trace))])
    end = T0 / 1e9 + 3
    assert [one.duration for one in collector.summaries("", 10, 1, end)] == [2]
    assert [one.duration for one in collector.summaries("", 10, end=end)] == [2, 1]
    assert [one.duration for one in collector.summaries("", 10)] == [3, 2, 1]


@pytest.mark.parametrize("size", [1, 15, 17, 100_000])
def test_lines_of_what_is_no_trace_are_refused(size: int) -> None:
    collector = collector_of()
    line = LogRecord(trace_id=b"\1" * size, body=AnyValue(string_value="short"))
    assert collector.receive_lines([_logs("shop", line)]) == 1
    assert (collector.size, collector.line_count) == (0, 0)


async def test_a_large_export_lets_others_have_their_turn() -> None:
    collector, turns = collector_of(), 0
    spans = [_span(number, 1, 0, 0, 10) for number in range(1, 3 * AT_ONCE)]
    nobody: Any = None
    request = ExportTraceServiceRequest(resource_spans=[_batch("a", *spans)])
    exporting = asyncio.create_task(OtlpTraces(collector).Export(request, nobody))
    while not exporting.done():
        turns += 1
        await asyncio.sleep(0)
    assert collector.trace_count == len(spans)
    assert turns > len(spans) / AT_ONCE
