"""What the OTEL_* variables do, and what a back end costs that hangs, refuses or cannot be trusted."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.runtime.export import INSTANCE, exporting
from services.runtime.otlp import FLUSH_SECONDS
from tests.services.runtime.otlp_sinks import Sink, grpc_sink, self_signed, values
from tests.services.runtime.test_export import EPOCH, EXPECTED, TRACE, sent, settings, trace


def attributes(sink: Sink) -> dict[str, Any]:
    """Of the first span."""
    return values(sink.spans()[0][1].attributes)


def resource(sink: Sink, at: int = 0) -> dict[str, Any]:
    """Of a span."""
    return sink.spans()[at][0]


Check = Callable[[Sink], bool]
VARIABLES: list[tuple[str, dict[str, str], Check]] = [
    ("grpc", {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b,team=x"}, lambda sink: sink.headers["api-key"] == "a b"),
    ("http/protobuf", {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=k"}, lambda sink: sink.headers["api-key"] == "k"),
    (
        "http/protobuf",
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
        lambda sink: sink.headers["content-encoding"] == "gzip",
    ),
    ("grpc", {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, lambda sink: len(sink.spans()) == 5),
    ("grpc", {"OTEL_EXPORTER_OTLP_INSECURE": "true"}, lambda sink: len(sink.spans()) == 5),
    ("grpc", {"OTEL_SERVICE_NAME": "edge"}, lambda sink: resource(sink)["service.name"] == "edge"),
    ("grpc", {"OTEL_SERVICE_NAME": "edge"}, lambda sink: resource(sink, 2)["service.name"] == "graph"),
    (
        "grpc",
        {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.instance.id=mine"},
        lambda sink: (
            [
                resource(sink, at).get(name)
                for at in (0, 2)
                for name in ("deployment.environment.name", "service.instance.id")
            ]
            == ["test", "mine", None, f"graph-{INSTANCE ^ 6:08x}"]
        ),
    ),
    ("grpc", {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}, lambda sink: len(sink.resource_spans) == 3),
    ("grpc", {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1"}, lambda sink: len(attributes(sink)) == 1),
    ("grpc", {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1"}, lambda sink: sink.spans()[0][1].dropped_attributes_count == 3),
    (
        "grpc",
        {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "2"},
        lambda sink: attributes(sink)["graphql.operation.type"] == "qu",
    ),
    (
        "grpc",
        {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3"},
        lambda sink: attributes(sink)["graphql.operation.type"] == "que",
    ),
    ("grpc", {"OTEL_SPAN_EVENT_COUNT_LIMIT": "0"}, lambda sink: not any(span.events for _, span in sink.spans())),
    ("grpc", {"OTEL_SDK_DISABLED": "true"}, lambda sink: not sink.spans()),
    ("grpc", {"OTEL_TRACES_EXPORTER": "none"}, lambda sink: not sink.spans()),
    ("grpc", {"OTEL_TRACES_EXPORTER": "console"}, lambda sink: not sink.spans()),
    ("grpc", {"OTEL_TRACES_EXPORTER": "otlp,console"}, lambda sink: len(sink.spans()) == 5),
    ("grpc", {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, lambda sink: len(sink.spans()) == 5),
]


@pytest.mark.parametrize(("protocol", "environment", "holds"), VARIABLES, ids=lambda value: str(value)[:60])
def test_a_variable_does_what_opentelemetry_says(
    protocol: str, environment: dict[str, str], holds: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sent(monkeypatch, protocol, **environment) as (sink, export):
        export.spans(TRACE, trace(), EPOCH)
    assert holds(sink)


def test_the_end_point_of_traces_wins_over_the_one_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with grpc_sink() as own, sent(monkeypatch, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=own.endpoint) as (common, export):
        export.spans(TRACE, trace(), EPOCH)
    assert (len(own.spans()), len(common.spans())) == (5, 0)


def test_the_schedule_says_how_long_spans_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with sent(monkeypatch, OTEL_BSP_SCHEDULE_DELAY="10") as (sink, export):
        export.spans(TRACE, trace(), EPOCH)
        until(lambda: len(sink.spans()) == 5)  # long before the end, which would send them in any case


def test_the_traces_service_gets_the_same_spans_without_the_users_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    with grpc_sink() as ours:
        secret = {"TRACES_ENDPOINT": ours.endpoint, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret"}
        with sent(monkeypatch, **secret) as (theirs, export):
            export.spans(TRACE, trace(), EPOCH)
        assert ids(ours) == ids(theirs) == [span["id"] for span in EXPECTED]
    assert theirs.headers["api-key"] == "secret"
    assert "api-key" not in ours.headers


def ids(sink: Sink) -> list[int]:
    return [int.from_bytes(span.span_id) for _, span in sink.spans()]


WRONG = [
    {"OTEL_PROPAGATORS": "b3"},
    {"OTEL_PROPAGATORS": "baggage"},
    {"OTEL_PROPAGATORS": "none"},
    {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
    {"OTEL_TRACES_SAMPLER_ARG": "2"},
    {"OTEL_TRACES_EXPORTER": "zipkin"},
    {"OTEL_LOGS_EXPORTER": "syslog"},
    {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
    {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"},
    {"OTEL_EXPORTER_OTLP_COMPRESSION": "brotli"},
    {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
    {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"},
]


@pytest.mark.parametrize("environment", WRONG, ids=str)
def test_what_cannot_be_honoured_is_refused_at_the_start(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, sent(monkeypatch, **environment):
        pass
    assert ended.value.code == 2
    assert "The environment is not right:\n  OTEL_" in capsys.readouterr().err


def test_tls_with_a_certificate_of_ones_own_and_one_to_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    trusted = {
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate.chain),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(certificate.key),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificate.chain),
    }
    with grpc_sink(certificate.server) as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        send_all()
        assert not sink.spans()  # nobody vouches for the sink's certificate yet
        for key, value in trusted.items():
            monkeypatch.setenv(key, value)
        send_all()
        assert len(sink.spans()) == 5


def send_all() -> None:
    """Export the trace to where the environment says."""
    with exporting("gateway", settings()) as export:
        export.spans(TRACE, trace(), EPOCH)


def metric(name: str, **labels: str) -> float:
    """A counter's value now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return when it holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_back_end_that_hangs_costs_neither_time_nor_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    full = {"name": "otel_spans_dropped_total", "reason": "queue_full"}
    before = metric(**full)
    limits = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "50",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
    }
    with sent(monkeypatch, **limits) as (sink, export):
        sink.hang = threading.Event()
        export.spans(TRACE, trace(), EPOCH)
        assert sink.arrived.wait(30)  # the exporter's thread has taken five spans and hangs with them
        for _ in range(100):
            export.spans(TRACE, trace(), EPOCH)
        assert metric(**full) - before == 500 - 50
        began = time.monotonic()
    assert time.monotonic() - began < FLUSH_SECONDS * 10  # though the exporter itself would wait for 600 s


def test_a_back_end_that_refuses_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"name": "otel_exports_total", "signal": "spans", "outcome": "failure"}
    lost = {"name": "otel_spans_dropped_total", "reason": "export_failed"}
    before = metric(**failed), metric(**lost)
    with grpc_sink() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    send_all()
    assert (metric(**failed) - before[0], metric(**lost) - before[1]) == (1, 5)
