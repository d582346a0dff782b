"""Structured logs on standard error: a JSON object a line, with the trace id of the request where there is one."""

import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import ExcInfo, Processor

from services.runtime import log_export
from services.runtime.errors import DomainError, Internal
from services.runtime.outcomes import CANCELLED, CODES, OK, Outcome
from services.runtime.scopes import Call
from services.runtime.settings import Settings
from services.runtime.telemetry import current_trace_id

log = structlog.get_logger()


def configure(settings: Settings, service: str) -> None:
    """Send this process's logs, and those of libraries from WARNING on, to standard error."""
    level = getattr(logging, settings.log_level.upper())
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # services/runtime/otlp.py says what goes wrong there
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    json = settings.log_format == "json"
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            about(service),
            log_export.hand_on,
            structlog.processors.ExceptionRenderer(where),
            structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def about(service: str) -> Processor:
    """Adds to each line which service wrote it, and for which trace."""

    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        if trace_id := current_trace_id():
            event["trace_id"] = trace_id
        return event

    return add


def where(exc_info: ExcInfo) -> str:
    """A traceback that tells kinds of errors and places, and not their texts: these may repeat what a caller sent."""
    return "".join(f"{type(error).__qualname__}\n{''.join(_frames(error))}" for error in _causes(exc_info[1]))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _frames(error: BaseException) -> list[str]:
    return traceback.format_tb(error.__traceback__)


class LogScope:
    """One line for each call: what did not end well is told at the level of whose fault it was."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = self._call.ended(error)
        if outcome.code == OK:
            log.debug("call ended", method=self._call.method, code="OK")
            return
        bug = {"exc_info": error.__cause__} if isinstance(error, Internal) and error.__cause__ else {}
        code, reason = CODES[outcome.code], _reason(outcome)
        getattr(log, _level(outcome))("call ended", method=self._call.method, code=code, reason=reason, **bug)


def _reason(outcome: Outcome) -> str:
    """The reason that the caller is told, or the code where it is told none."""
    return outcome.error.reason if outcome.heard and isinstance(outcome.error, DomainError) else CODES[outcome.code]


def _level(outcome: Outcome) -> str:
    if isinstance(outcome.error, DomainError) and (outcome.heard or isinstance(outcome.error, Internal)):
        return outcome.error.level
    return "info" if outcome.code == CANCELLED else "warning"
