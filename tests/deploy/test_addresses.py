"""What our processes are told by the local stack."""

from pathlib import Path

import pytest

from deploy.local.addresses import SERVICES
from deploy.local.stack import Stack, StackOptions

PASSED_ON = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=x",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    "TRACING": "off",
}
KEPT_BACK = {"OTEL_SERVICE_NAME": "all", "DATABASE_URL": "postgresql://elsewhere"}


@pytest.mark.parametrize("name", [*SERVICES, "gateway"])
def test_every_process_gets_opentelemetrys_variables(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {**PASSED_ON, **KEPT_BACK}.items():
        monkeypatch.setenv(key, value)
    stack = Stack(StackOptions.for_tests(tmp_path))
    environment = stack.environment(name)
    assert environment.items() >= PASSED_ON.items()
    assert not environment.items() & KEPT_BACK.items()
    assert environment["TRACES_ENDPOINT"] == f"http://{stack.targets['traces']}"
