"""A real stack and a back end that is not ours: a query through all services arrives there whole."""

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from deploy.local.stack import Stack
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from tests.conftest import Connect, service_token
from tests.gateway.clients import SETTLE_SECONDS, Client, World
from tests.gateway.running import gateway, listening
from tests.gateway.test_queries import SHOW
from tests.gateway.test_spans import kept_trace
from tests.services.runtime.otlp_sinks import grpc_sink, values

PARENT = "b7ad6b7169203331"
SERVICES = {"gateway", "auth", "agent_store", "vector_search", "graph"}
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
Arrived = tuple[dict[str, Any], otlp.Span]


async def until(true: Callable[[], bool]) -> None:
    """Return when it holds."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while not true():  # noqa: ASYNC110 - what it waits for happens in a thread of the sink
            await asyncio.sleep(0.05)


async def test_a_sampled_query_arrives_whole(stack: Stack, world: World) -> None:
    trace_id = uuid4().hex
    with grpc_sink() as sink:
        async with gateway(stack, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint, **SOON) as running:
            client = Client(running.client.http, world.client.token)
            headers = {"traceparent": f"00-{trace_id}-{PARENT}-01", "tracestate": "congo=1"}
            response = await client.post({"query": SHOW}, **headers)
            assert "errors" not in response.json()
            await until(lambda: services(sink.spans(trace_id)) == SERVICES)
        arrived = sink.spans(trace_id)
    check_tree(arrived)
    check_times(arrived)
    check_meaning(arrived)
    assert {span.trace_state for _, span in arrived} == {"congo=1"}
    sent = response.headers["traceresponse"].split("-")[2]
    assert [span.span_id.hex() for _, span in arrived if span.parent_span_id.hex() == PARENT] == [sent]


def services(arrived: list[Arrived]) -> set[str]:
    """Whose spans have come."""
    return {resource["service.name"] for resource, _ in arrived}


def check_tree(arrived: list[Arrived]) -> None:
    """One root, under the caller's span; a server is below a client of another service, all else below its own."""
    by_id = {span.span_id: (resource, span) for resource, span in arrived}
    assert len(by_id) == len(arrived)
    [root] = [span for _, span in arrived if span.parent_span_id not in by_id]
    assert root.parent_span_id.hex() == PARENT
    for resource, span in arrived:
        if span is root:
            continue
        above, parent = by_id[span.parent_span_id]
        if span.kind == otlp.Span.SPAN_KIND_SERVER:
            assert parent.kind == otlp.Span.SPAN_KIND_CLIENT
            assert parent.name == span.name
            assert values(parent.attributes)["service.peer.name"] == resource["service.name"]
        else:
            assert above["service.instance.id"] == resource["service.instance.id"]


def check_times(arrived: list[Arrived]) -> None:
    """A child is inside its parent, but for the microsecond to which blobs are cut."""
    by_id = {span.span_id: span for _, span in arrived}
    for _, span in arrived:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if parent := by_id.get(span.parent_span_id):
            assert parent.start_time_unix_nano <= span.start_time_unix_nano + 1_000
            assert span.end_time_unix_nano <= parent.end_time_unix_nano + 1_000


def check_meaning(arrived: list[Arrived]) -> None:
    """Each span says what it is about; and no two processes are one instance."""
    about = {"rpc.method", "db.query.summary", "graphql.operation.type"}
    for _, span in arrived:
        if span.kind in (otlp.Span.SPAN_KIND_SERVER, otlp.Span.SPAN_KIND_CLIENT):
            assert about & values(span.attributes).keys(), span
    instances = {(resource["service.name"], resource["service.instance.id"]) for resource, _ in arrived}
    assert len(instances) == len(SERVICES)


async def test_a_stranger_gets_ordinary_opentelemetry(stack: Stack) -> None:
    sampled, unsampled = uuid4().hex, uuid4().hex
    with grpc_sink() as sink:
        environment = {**stack.environment("auth"), "OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint, **SOON}
        async with listening("services.auth", environment) as (_, address):
            await ask_keys(address, unsampled, "00")
            await ask_keys(address, sampled, "01")
            await until(lambda: bool(sink.spans(sampled)))
    [(resource, span)] = sink.spans(sampled)
    assert (resource["service.name"], span.parent_span_id.hex()) == ("auth", PARENT)
    assert span.name == "neurectomy.auth.v1.AuthService/GetKeySet"
    assert not sink.spans(unsampled)


async def ask_keys(address: str, trace_id: str, flags: str) -> None:
    """As grpcurl would."""
    async with grpc.aio.insecure_channel(address) as channel:
        metadata = (("traceparent", f"00-{trace_id}-{PARENT}-{flags}"),)
        await AuthServiceStub(channel).GetKeySet(auth_pb2.GetKeySetRequest(), metadata=metadata)


async def test_a_process_ends_in_time_though_its_back_end_hangs(stack: Stack) -> None:
    with grpc_sink() as sink:
        sink.hang = threading.Event()
        endless = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "600", **SOON}
        async with listening("services.auth", {**stack.environment("auth"), **endless}) as (process, address):
            await ask_keys(address, uuid4().hex, "01")
            await until(sink.arrived.is_set)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(SETTLE_SECONDS):
                assert await process.wait() == 0


async def test_queries_are_answered_while_the_back_end_hangs(stack: Stack, world: World) -> None:
    with grpc_sink() as sink:
        sink.hang = threading.Event()
        small = {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
        async with gateway(stack, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint, **small, **SOON) as running:
            client = Client(running.client.http, world.client.token)
            for _ in range(10):
                headers = {"traceparent": f"00-{uuid4().hex}-{PARENT}-01"}
                assert "errors" not in (await client.post({"query": SHOW}, **headers)).json()
            assert sink.arrived.is_set()


async def test_a_strangers_trace_and_its_log_lines_reach_the_traces_service(stack: Stack, connect_as: Connect) -> None:
    traces = connect_as(TracesServiceStub, await service_token(stack, "cli"))
    trace_id = uuid4().hex
    async with grpc.aio.insecure_channel(stack.targets["auth"]) as channel:
        metadata = (("traceparent", f"00-{trace_id}-{PARENT}-01"),)
        with pytest.raises(grpc.aio.AioRpcError):
            await AuthServiceStub(channel).GetCurrentUser(auth_pb2.GetCurrentUserRequest(), metadata=metadata)
    async with asyncio.timeout(SETTLE_SECONDS):
        while not (found := await kept_trace(traces, trace_id)).logs:  # noqa: ASYNC110 - lines come after spans
            await asyncio.sleep(0.2)
    [line] = found.logs
    assert (line.service, line.text) == ("auth", "call ended")
    assert line.span_id == found.spans[0].span_id
