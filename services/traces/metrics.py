"""Prometheus metrics of the traces process."""

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from services.traces.collector import Collector
    from services.traces.latency import Latencies

spans_received = Counter("traces_spans_received", "Spans that came by OTLP.")
spans_refused = Counter("traces_spans_refused", "Spans of traces that had become too large.")
lines_received = Counter("traces_log_lines_received", "Log lines of some trace that came by OTLP.")
lines_refused = Counter("traces_log_lines_refused", "Log lines of traces that had too many.")
traces_evicted = Counter("traces_evicted", "Kept traces that gave way to newer ones, or grew too old.")
reports_received = Counter("traces_reports_received", "Latency reports that were counted.")
reports_repeated = Counter("traces_reports_repeated", "Latency reports that had been counted before.")
windows_too_old = Counter("traces_windows_too_old", "Reported windows that had ended before all that is kept.")
store_failures = Counter("traces_store_failures", "Times that the file could not be opened or written.")
traces_kept = Gauge("traces_kept", "Traces that are held.")
lines_kept = Gauge("traces_log_lines_kept", "Log lines that are held.")
bytes_kept = Gauge("traces_bytes_kept", "Bytes that are held, by what.", ["what"])


def watch(latencies: "Latencies", collector: "Collector") -> None:
    """Tell Prometheus what is held at the moment it asks."""
    traces_kept.set_function(lambda: collector.trace_count)
    lines_kept.set_function(lambda: collector.line_count)
    bytes_kept.labels("traces").set_function(lambda: collector.size)
    bytes_kept.labels("latencies").set_function(lambda: latencies.size)
