"""A stack whose processes speak mTLS: it answers as any other, strangers are refused, certificates change under it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from deploy.local.ports import HOST, settle
from deploy.local.stack import Stack, StackOptions
from deploy.traces import client as operator
from neurectomy.traces.v1 import traces_pb2
from services.runtime.channels import opened
from tests.gateway.clients import Client, make_agent, register

SERVICES = ("auth", "agent_store", "vector_search", "traces")
SECONDS = 30.0
ASK = "query Encrypted { agents { name owner { displayName } } }"
Channel = Callable[[Stack, str], AbstractAsyncContextManager[grpc.aio.Channel]]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def encrypted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """All but the graph, which would wait for Neo4j; auth answers health checks in plaintext, too."""
    probe = {"HEALTH_LISTEN": f"{HOST}:{settle({'probe': 0})['probe']}"}
    options = StackOptions.for_tests(tmp_path_factory.mktemp("encrypted"), ("gateway",))
    async with Stack(StackOptions(options.state, options.ports, options.parts, {"auth": probe}, tls=True)) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def owner(encrypted: Stack) -> AsyncIterator[Client]:
    """Of an organization with one agent."""
    async with httpx.AsyncClient(base_url=encrypted.gateway_url, timeout=30, trust_env=False) as http:
        client, _, _ = await register(Client(http))
        await make_agent(client, name="Librarian")
        yield client


async def test_one_query_goes_through_auth_and_agent_store(encrypted: Stack, owner: Client) -> None:
    assert await owner.data(ASK) == {"agents": [{"name": "Librarian", "owner": {"displayName": "Ada"}}]}
    states = (await owner.http.get("/ready")).json()["services"]
    assert {name: states[name] for name in SERVICES if name in states} == dict.fromkeys(SERVICES[:3], "serving")


async def test_kept_traces_and_the_command_line_find_their_way(encrypted: Stack, owner: Client) -> None:
    """The gateway's latencies go by gRPC, its kept traces by OTLP, and an operator asks for both."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    await owner.post({"query": ASK}, traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
    async with operator.traces(operator.local(encrypted.state.path)) as traces, asyncio.timeout(SECONDS):
        while not (await _is_counted(traces) and await _is_kept(traces, trace_id)):  # noqa: ASYNC110 - it tells when asked
            await asyncio.sleep(0.1)


async def _is_counted(traces: Any) -> bool:
    return any("Encrypted" in one.operation for one in await operator.operations(traces, 600))


async def _is_kept(traces: Any, trace_id: str) -> bool:
    call = traces.GetTrace(traces_pb2.GetTraceRequest(trace_id=trace_id))
    return await _code(call) is grpc.StatusCode.OK


def in_plaintext(stack: Stack, service: str) -> AbstractAsyncContextManager[grpc.aio.Channel]:
    return opened(stack.targets[service], None)


def without_certificate(stack: Stack, service: str) -> AbstractAsyncContextManager[grpc.aio.Channel]:
    authority = Path(stack.environment(service)["TLS_AUTHORITY"]).read_bytes()
    return grpc.aio.secure_channel(stack.targets[service], grpc.ssl_channel_credentials(authority))


def with_the_command_lines(stack: Stack, service: str) -> AbstractAsyncContextManager[grpc.aio.Channel]:
    return opened(stack.targets[service], stack.tls)


OUTCOMES = [
    (in_plaintext, grpc.StatusCode.UNAVAILABLE),
    (without_certificate, grpc.StatusCode.UNAVAILABLE),
    (with_the_command_lines, grpc.StatusCode.OK),
]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(("channel", "code"), OUTCOMES)
async def test_strangers_reach_nobody(encrypted: Stack, channel: Channel, code: grpc.StatusCode, service: str) -> None:
    async with channel(encrypted, service) as opened_channel:
        check = health_pb2_grpc.HealthStub(opened_channel).Check
        assert await _code(check(health_pb2.HealthCheckRequest(), timeout=SECONDS)) is code


@pytest.mark.parametrize(("channel", "code"), OUTCOMES)
async def test_otlp_is_closed_to_them_too(encrypted: Stack, channel: Channel, code: grpc.StatusCode) -> None:
    async with channel(encrypted, "traces") as opened_channel:
        stub = trace_service_pb2_grpc.TraceServiceStub(opened_channel)  # type: ignore[no-untyped-call]
        export = stub.Export(trace_service_pb2.ExportTraceServiceRequest(), timeout=SECONDS)
        assert await _code(export) is code


async def _code(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_probe_without_a_certificate_has_a_port_of_its_own(encrypted: Stack) -> None:
    """And nothing but health is to be had there."""
    async with opened(encrypted.environment("auth")["HEALTH_LISTEN"], None) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        other: Any = channel.unary_unary("/neurectomy.auth.v1.AuthService/GetKeySet")
        assert await _code(other(b"", timeout=SECONDS)) is grpc.StatusCode.UNIMPLEMENTED


async def test_a_certificate_changes_under_running_processes(encrypted: Stack, owner: Client) -> None:
    pids, before = encrypted.pids, await shown(encrypted, "agent_store")
    for name in ("agent_store", "gateway"):
        encrypted.renew_certificate(name)
    own = Path(encrypted.environment("agent_store")["TLS_CERTIFICATE"]).read_bytes()
    async with asyncio.timeout(SECONDS):
        while await shown(encrypted, "agent_store") == before:
            assert "errors" not in await owner.answer(ASK)
    assert await shown(encrypted, "agent_store") == x509.load_pem_x509_certificate(own).serial_number
    assert "errors" not in await owner.answer(ASK)
    assert encrypted.pids == pids


async def shown(stack: Stack, service: str) -> int:
    """The serial number of what a new connection is shown."""
    files = stack.environment("auth")
    context = ssl.create_default_context(cafile=files["TLS_AUTHORITY"])
    context.load_cert_chain(files["TLS_CERTIFICATE"], files["TLS_KEY"])
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(HOST, stack.ports[service], ssl=context)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(certificate).serial_number


def test_keys_are_for_the_owner_alone(encrypted: Stack) -> None:
    keys = [Path(encrypted.environment(name)["TLS_KEY"]) for name in (*SERVICES, "gateway")]
    assert [key.stat().st_mode & 0o777 for key in keys] == [0o600] * 5
    assert len({key.read_text() for key in keys}) == 5
