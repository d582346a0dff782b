"""Structured logs on standard error: a JSON object a line, with the trace id of the request where there is one."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from services.runtime import log_export
from services.runtime.settings import Settings
from services.runtime.telemetry import current_trace_id

# Without the local variables that it would show in tracebacks: requests have no place in a log.
PLAIN = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def configure(settings: Settings, service: str) -> None:
    """Send this process's logs, and those of libraries from WARNING on, to standard error."""
    level = getattr(logging, settings.log_level.upper())
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # services/runtime/otlp.py says what goes wrong there
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    rendered: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _about(service),
            log_export.hand_on,
            *(rendered if settings.log_format == "json" else [PLAIN]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _about(service: str) -> Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        if trace_id := current_trace_id():
            event["trace_id"] = trace_id
        return event

    return add
