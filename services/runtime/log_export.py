"""Log lines of requests as real OpenTelemetry: those that carry a trace id, sent by the stock OTLP log exporter."""

import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from services.runtime.export import INSTANCE, NOT_SAMPLED
from services.runtime.otlp import close, log_processors, made
from services.runtime.readable import SAMPLED, SCOPE, own_resource
from services.runtime.settings import Settings
from services.runtime.telemetry import current_span_id, current_trace
from services.runtime.trace_context import TraceContext

SEVERITIES = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
NOT_ATTRIBUTES = {"event", "level", "timestamp", "service", "trace_id", "exc_info"}
"""These have fields of their own; and tracebacks stay on standard error, as their messages may quote a caller."""

_loggers: list[Logger] = []


@contextmanager
def exporting_logs(service: str, settings: Settings) -> Iterator[None]:
    """Inside, log lines that carry a trace id go to wherever the settings say."""
    processors = made(log_processors, settings)
    provider = LoggerProvider(own_resource(service, INSTANCE), shutdown_on_exit=False)
    for processor in processors:
        provider.add_log_record_processor(processor)
    if processors:
        _loggers.append(provider.get_logger(SCOPE.name, SCOPE.version))
    try:
        yield
    finally:
        _loggers.clear()
        close(processors)


def hand_on(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog's: queue the line, if it is a request's, and let it pass."""
    trace = current_trace()
    if trace is not None and _loggers:
        record = _record(event, trace)
        for logger in _loggers:
            logger.emit(record)
    return event


def _record(event: MutableMapping[str, Any], trace: TraceContext) -> LogRecord:
    now = time.time_ns()
    flags = SAMPLED if trace.sampled else NOT_SAMPLED
    span = SpanContext(int(trace.trace_id, 16), current_span_id(), is_remote=False, trace_flags=flags)
    return LogRecord(
        timestamp=now,
        observed_timestamp=now,
        context=set_span_in_context(NonRecordingSpan(span)),
        severity_text=event.get("level", "info"),
        severity_number=SEVERITIES.get(event.get("level", "info"), SeverityNumber.INFO),
        body=str(event.get("event", "")),
        attributes=_attributes(event),
    )


def _attributes(event: MutableMapping[str, Any]) -> dict[str, str | int | float | bool]:
    attributes = {key: _plain(value) for key, value in event.items() if key not in NOT_ATTRIBUTES}
    error = event.get("exc_info")
    if error := sys.exc_info()[1] if error is True else error:
        attributes["exception.type"] = type(error).__qualname__
    return attributes


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)
