"""Log lines of a request leave as OTLP log records; all others stay on standard error."""

from contextvars import Context

import pytest
import structlog
from opentelemetry._logs import SeverityNumber

from services.runtime import log_export, telemetry
from services.runtime.log_export import exporting_logs
from services.runtime.span_wire import Kind
from services.runtime.telemetry import span
from services.runtime.trace_context import TraceContext
from tests.services.runtime.otlp_sinks import grpc_sink, values
from tests.services.runtime.test_export import PARENT, TRACE, TRANSPORTS, settings

SAMPLED = TraceContext(TRACE, PARENT, sampled=True)
SECRET = "the password is swordfish"


@pytest.fixture
def log() -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines go the way of a process's own."""
    chain: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        log_export.hand_on,
        structlog.processors.JSONRenderer(),
    ]
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(), processors=chain, wrapper_class=structlog.make_filtering_bound_logger(0)
    )
    return logger


SEVERITIES = [
    ("debug", SeverityNumber.DEBUG),
    ("info", SeverityNumber.INFO),
    ("warning", SeverityNumber.WARN),
    ("error", SeverityNumber.ERROR),
    ("critical", SeverityNumber.FATAL),
]


@pytest.mark.parametrize(("level", "number"), SEVERITIES)
def test_a_line_has_its_trace_span_severity_and_attributes(
    level: str, number: SeverityNumber, log: structlog.typing.FilteringBoundLogger
) -> None:
    with grpc_sink() as sink, exporting_logs("graph", settings(traces_endpoint=sink.endpoint)):
        recording = telemetry.begin("/test", SAMPLED, record=True)
        assert recording is not None
        with span(Kind.NEO4J, "traverse"):
            getattr(log, level)("slow", seconds=1.5, node="a", found=True, ids=[1])
    [(resource, record)] = sink.logs()
    assert resource["service.name"] == "graph"
    assert resource["service.instance.id"].startswith("graph-")
    assert (record.trace_id.hex(), int.from_bytes(record.span_id)) == (TRACE, recording.base + 1)
    assert (record.severity_number, record.severity_text) == (number.value, level)
    assert record.body.string_value == "slow"
    assert values(record.attributes) == {"seconds": 1.5, "node": "a", "found": True, "ids": "[1]"}
    assert record.time_unix_nano > 1_600_000_000 * 10**9


def test_of_an_exception_the_type_leaves_and_the_text_stays(log: structlog.typing.FilteringBoundLogger) -> None:
    with grpc_sink() as sink, exporting_logs("graph", settings(traces_endpoint=sink.endpoint)):
        telemetry.begin("/test", SAMPLED, record=False)
        log.error("unexpected error", exc_info=KeyError(SECRET))
        try:
            raise RuntimeError(SECRET)
        except RuntimeError:
            log.exception("unexpected error")
    found = [values(record.attributes) for _, record in sink.logs()]
    assert found == [{"exception.type": "KeyError"}, {"exception.type": "RuntimeError"}]
    assert SECRET not in str(sink.resource_logs)


def test_a_line_without_a_trace_stays(log: structlog.typing.FilteringBoundLogger) -> None:
    with grpc_sink() as sink, exporting_logs("graph", settings(traces_endpoint=sink.endpoint)):
        Context().run(log.info, "listening")
    assert not sink.logs()


@pytest.mark.parametrize("protocol", TRANSPORTS)
def test_the_users_back_end_gets_lines_when_it_is_told_to(
    protocol: str, log: structlog.typing.FilteringBoundLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TRANSPORTS[protocol]() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        telemetry.begin("/test", SAMPLED, record=False)
        with exporting_logs("graph", settings()):
            log.info("not told")
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
        with exporting_logs("graph", settings()):
            log.info("told")
    assert [record.body.string_value for _, record in sink.logs()] == ["told"]
