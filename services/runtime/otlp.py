"""The stock OTLP exporters, counted: what they sent, what was lost, and when an end point ceases to answer."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import structlog
from grpc import Compression
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    ConsoleLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from prometheus_client import Counter

from services.runtime.settings import Settings
from services.runtime.tls import Tls

FLUSH_SECONDS = 3.0
"""How long the last batch may take when the process ends."""
OWN_SECONDS = 2.0
OWN_HEADERS = (("x-neurectomy", "1"),)
"""Any, so that the exporter does not send the traces service those that are meant for the user's back end."""

exports = Counter("otel_exports", "Batches handed to OTLP and console exporters.", ["signal", "outcome"])
dropped = {
    "spans": Counter("otel_spans_dropped", "Kept spans that reached no back end.", ["reason"]),
    "logs": Counter("otel_log_lines_dropped", "Log lines with a trace that reached no back end.", ["reason"]),
}
log = structlog.get_logger()

T = TypeVar("T")
Result = TypeVar("Result")
Sent = TypeVar("Sent", contravariant=True)
Answer = TypeVar("Answer", covariant=True)


class Inner(Protocol[Sent, Answer]):
    """What stock exporters of either signal have."""

    def export(self, batch: Sequence[Sent], /) -> Answer: ...
    def shutdown(self) -> None: ...


class _Counted(Generic[T, Result]):
    """An exporter around the stock one. Nothing here carries a trace id, so its lines are not exported themselves."""

    signal: str

    def __init__(self, inner: Inner[T, Result], to: str) -> None:
        self._inner = inner
        self._to = to
        self._failing = False

    def export(self, batch: Sequence[T], /) -> Result:
        """Hand the batch on, from the processor's thread."""
        result = self._inner.export(batch)
        failed = getattr(result, "name", "") != "SUCCESS"
        exports.labels(self.signal, "failure" if failed else "success").inc()
        if failed:
            dropped[self.signal].labels("export_failed").inc(len(batch))
        if failed != self._failing:
            self._failing = failed
            (log.warning if failed else log.info)("export fails" if failed else "export works again", to=self._to)
        return result

    def shutdown(self) -> None:
        """Give up what is being sent."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return True


class CountedSpans(_Counted[ReadableSpan, SpanExportResult], SpanExporter):
    """Of spans."""

    signal = "spans"


class CountedLogs(_Counted[ReadableLogRecord, LogRecordExportResult], LogRecordExporter):
    """Of log lines."""

    signal = "logs"


class Drops:
    """Takes the place of the SDK's own processor metrics, which only an OpenTelemetry meter could read."""

    def __init__(self, signal: str) -> None:
        self._dropped = dropped[signal]

    def register_queue_size(self, get_queue_size: Callable[[], int]) -> None:
        """Not of interest."""

    def drop_items(self, count: int, error_type: str = "queue_full") -> None:
        """Count what there was no room for."""
        self._dropped.labels(error_type).inc(count)

    def finish_items(self, count: int) -> None:
        """Counted by the exporter."""


Processor = TypeVar("Processor", BatchSpanProcessor, BatchLogRecordProcessor)


def _with_drops(processor: Processor, signal: str) -> Processor:
    processor._batch_processor._metrics = Drops(signal)
    return processor


def span_processors(settings: Settings) -> list[BatchSpanProcessor]:
    """Queues to everywhere that spans go."""
    chosen: list[tuple[str, Any]] = []
    if settings.otel_sdk_disabled:
        return []
    if settings.traces_endpoint:
        chosen.append(("traces", _own(GrpcSpans, settings.traces_endpoint, settings.tls)))
    if "otlp" in settings.traces_exporters:
        protocol = settings.otel_exporter_otlp_traces_protocol or settings.otel_exporter_otlp_protocol
        chosen.append(("otlp", GrpcSpans() if protocol == "grpc" else HttpSpans()))
    if "console" in settings.traces_exporters:
        chosen.append(("console", ConsoleSpanExporter()))
    return [_with_drops(BatchSpanProcessor(CountedSpans(inner, to)), "spans") for to, inner in chosen]


def log_processors(settings: Settings) -> list[BatchLogRecordProcessor]:
    """Queues to everywhere that log lines go."""
    chosen: list[tuple[str, Any]] = []
    if settings.otel_sdk_disabled:
        return []
    if settings.traces_endpoint:
        chosen.append(("traces", _own(GrpcLogs, settings.traces_endpoint, settings.tls)))
    if "otlp" in settings.logs_exporters:
        protocol = settings.otel_exporter_otlp_logs_protocol or settings.otel_exporter_otlp_protocol
        chosen.append(("otlp", GrpcLogs() if protocol == "grpc" else HttpLogs()))
    if "console" in settings.logs_exporters:
        chosen.append(("console", ConsoleLogRecordExporter()))
    return [_with_drops(BatchLogRecordProcessor(CountedLogs(inner, to)), "logs") for to, inner in chosen]


def _own(kind: Callable[..., Any], endpoint: str, tls: Tls | None) -> Any:
    """Everything is given, so that nothing of the user's back end is read from the environment."""
    make = partial(
        kind,
        endpoint=endpoint,
        insecure=not endpoint.startswith("https://"),
        headers=OWN_HEADERS,
        timeout=OWN_SECONDS,
        compression=Compression.NoCompression,
    )
    return _Following(make, tls) if tls else make()


class _Following:
    """An exporter that is made anew when the certificate that it shows was replaced; see services/runtime/following."""

    def __init__(self, make: Callable[..., Any], tls: Tls) -> None:
        self._make = make
        self._tls = tls
        self._renew()

    def export(self, batch: Sequence[Any], /) -> Any:
        """From the processor's thread, one batch after another."""
        if self._tls.current() is not self._shown:
            self._inner.shutdown()
            self._renew()
        return self._inner.export(batch)

    def shutdown(self) -> None:
        """Give up what is being sent."""
        self._inner.shutdown()

    def _renew(self) -> None:
        self._shown = self._tls.current()
        self._inner = self._make(credentials=self._shown.channel_credentials())


def made(make: Callable[[Settings], T], settings: Settings) -> T:
    """What it makes, or exit status 2 and a line where a variable that OpenTelemetry reads is wrong."""
    try:
        return make(settings)
    except Exception as error:
        sys.stderr.write(f"The environment is not right:\n  OTEL_*: {error}\n")
        raise SystemExit(2) from None


def close(processors: Iterable[BatchSpanProcessor | BatchLogRecordProcessor]) -> None:
    """Send what waits, for 3 s at most: whoever hangs at the other end does not keep the process."""
    threads = [threading.Thread(target=processor.shutdown, daemon=True) for processor in processors]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + FLUSH_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
