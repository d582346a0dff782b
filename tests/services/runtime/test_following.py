"""Certificates are replaced under servers, channels and exporters that run: nothing fails, the new ones are shown."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from services.runtime.channels import opened
from services.runtime.export import exporting
from services.runtime.tls import server_credentials
from tests.services.runtime.mutual import OTHERS, SECONDS, Files, asked, issued, serial, serving
from tests.services.runtime.otlp_sinks import grpc_sink
from tests.services.runtime.test_export import EPOCH, TRACE, settings, trace
from tests.services.runtime.test_otlp import until

OK, REFUSED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


async def test_a_channel_shows_what_is_on_disk_at_the_next_call(tmp_path: Path) -> None:
    old, new = issued(), issued()
    files = Files(tmp_path / "client").write(old)
    own = Files(tmp_path / "server").write(issued())
    async with serving(own.tls) as server, opened(server.target, files.tls) as channel:
        assert [await asked(channel) for _ in range(2)] == [OK, OK]
        files.write(new)
        assert [await asked(channel) for _ in range(2)] == [OK, OK]
    assert server.callers == [serial(pair) for pair in (old, old, new, new)]


async def test_another_authority_takes_over_on_both_sides(tmp_path: Path) -> None:
    server_files, client_files = (Files(tmp_path / side).write(issued()) for side in ("server", "client"))
    async with serving(server_files.tls) as server, opened(server.target, client_files.tls) as channel:
        assert await asked(channel) is OK
        server_files.write(issued(OTHERS), OTHERS)
        async with opened(server.target, client_files.tls) as of_the_old:
            assert await asked(of_the_old) is REFUSED
        client_files.write(issued(OTHERS), OTHERS)
        assert await asked(channel) is OK


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_stream_goes_on_where_it_began_and_its_channel_is_closed_after_it(
    cancelled: bool, tmp_path: Path
) -> None:
    files = Files(tmp_path).write(issued())
    async with serving(files.tls) as server, opened(server.target, files.tls) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watching: Any = stub.Watch(health_pb2.HealthCheckRequest())
        await watching.read()
        began_on = channel.current().channel  # type: ignore[attr-defined]  # it stands in for a channel
        files.write(issued(OTHERS), OTHERS)
        assert await asked(channel) is OK
        assert began_on.get_state() is not grpc.ChannelConnectivity.SHUTDOWN
        if cancelled:
            watching.cancel()
        else:
            server.again.set()
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
            assert await watching.read() is grpc.aio.EOF
        assert await asked(channel) is OK
        async with asyncio.timeout(SECONDS):
            while began_on.get_state() is not grpc.ChannelConnectivity.SHUTDOWN:  # noqa: ASYNC110 - it tells when asked
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("setting", ["TLS_CERTIFICATE", "TLS_KEY", "TLS_AUTHORITY"])
async def test_files_that_cannot_be_used_change_nothing_but_the_log(setting: str, tmp_path: Path) -> None:
    files = Files(tmp_path).write(issued())
    async with serving(files.tls) as server, opened(server.target, files.tls) as channel:
        files.paths[setting].write_text("half of a cert")
        with capture_logs() as lines:
            assert await asked(channel) is OK
        assert [line["event"] for line in lines] == ["new certificate cannot be used, the old one stays"] * 2
        assert all(setting in line["problem"] for line in lines)
        files.write(issued(OTHERS), OTHERS)
        assert await asked(channel) is OK


def test_the_exporter_shows_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = issued(), issued(OTHERS)
    files = Files(tmp_path).write(old)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    for key, value in files.environment.items():
        monkeypatch.setenv(key, value)
    with grpc_sink(server_credentials(files.tls)) as sink:
        monkeypatch.setenv("TRACES_ENDPOINT", sink.endpoint)
        with exporting("gateway", settings()) as export:
            export.spans(TRACE, trace(), EPOCH)
            until(lambda: len(sink.spans()) == 5)
            files.write(new, OTHERS)

            def is_shown() -> bool:
                export.spans(TRACE, trace(), EPOCH)
                return new.certificate.encode() in sink.shown

            until(is_shown)
    assert sink.shown[0] == old.certificate.encode()
