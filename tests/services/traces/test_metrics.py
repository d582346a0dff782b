"""What Prometheus is told of the traces process."""

from random import Random

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1 import trace_pb2
from prometheus_client import REGISTRY

from services.traces import metrics
from services.traces.collector import Collector
from services.traces.histograms import Histogram
from services.traces.latency import Latencies, Report
from services.traces.population import Request

NOW = 1_700_000_000


def _told() -> dict[str, float]:
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    return {
        sample.name + sample.labels.get("what", ""): sample.value
        for sample in samples
        if sample.name.startswith("traces_") and not sample.name.endswith("_created")
    }


def _span(trace: int) -> trace_pb2.ResourceSpans:
    span = trace_pb2.Span(trace_id=trace.to_bytes(16), span_id=b"\1" * 8)
    return trace_pb2.ResourceSpans(scope_spans=[trace_pb2.ScopeSpans(spans=[span])])


def _lines(trace: int, count: int) -> ResourceLogs:
    records = [LogRecord(trace_id=trace.to_bytes(16), time_unix_nano=number) for number in range(count)]
    return ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])


def test_all_that_is_counted_is_told() -> None:
    latencies = Latencies(1.0, 10**6, Random(1), clock=lambda: NOW)
    collector = Collector(3_000, 1.0, clock=lambda: NOW)
    metrics.watch(latencies, collector)
    before, histogram = _told(), Histogram()
    histogram.add(Request(5, 1, {"gateway": 5}))
    for start in (NOW, NOW, NOW - 7_200):
        latencies.report("one", 1 if start == NOW else 2, [Report("a", start, histogram.pack())])
    collector.receive([*map(_span, range(1, 41)), _span(0)])
    collector.receive_lines([_lines(40, 1_001)])
    now = _told()
    moved = {name: value - before[name] for name, value in now.items() if name.endswith("_total")}
    kept = now["traces_kept"]
    assert moved == {
        "traces_spans_received_total": 41,
        "traces_spans_refused_total": 0,
        "traces_log_lines_received_total": 1_001,
        "traces_log_lines_refused_total": 1_001 - now["traces_log_lines_kept"],
        "traces_evicted_total": 41 - kept,
        "traces_reports_received_total": 2,
        "traces_reports_repeated_total": 1,
        "traces_windows_too_old_total": 1,
        "traces_store_failures_total": 0,
    }
    assert 1 <= kept < 20
    assert (now["traces_bytes_kepttraces"], now["traces_bytes_keptlatencies"]) == (collector.size, latencies.size)
