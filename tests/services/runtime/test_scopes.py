"""Every shape of RPC times the ways in which it can end: the caller, the span and the trailers tell one story."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio

from services.runtime import channels, telemetry
from services.runtime.deadlines import DeadlineScope, set_budget
from services.runtime.errors import DETAILS_KEY, AgentNotFound, ErrorsScope
from services.runtime.export import SpanExport
from services.runtime.scopes import Context, ScopedServer
from services.runtime.span_wire import Kind, unpack
from services.runtime.telemetry import Recording, TraceContext, TracingScope, new_trace_id, span

SECRET = "the password is swordfish"


async def _work(request: bytes) -> bytes:
    with span(Kind.POSTGRES, "SELECT answer"):
        if request == b"missing":
            raise AgentNotFound("x")
        if request == b"bug":
            raise RuntimeError(SECRET)
        if request == b"slow":
            await asyncio.sleep(5)
    return b"answer"


async def _unary_unary(request: bytes, context: Context) -> bytes:
    return await _work(request)


async def _stream_unary(requests: AsyncIterator[bytes], context: Context) -> bytes:
    return [await _work(request) async for request in requests][-1]


async def _unary_stream(request: bytes, context: Context) -> AsyncIterator[bytes]:
    yield b"first"
    yield await _work(request)


async def _stream_stream(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield b"first"
        yield await _work(request)


HANDLERS: dict[str, Any] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler(_unary_unary),
    "stream_unary": grpc.stream_unary_rpc_method_handler(_stream_unary),
    "unary_stream": grpc.unary_stream_rpc_method_handler(_unary_stream),
    "stream_stream": grpc.stream_stream_rpc_method_handler(_stream_stream),
}
SHAPES = tuple(HANDLERS)


class Sink(SpanExport):
    """An export that keeps what it is given, for calls whose spans cannot ride home."""

    def __init__(self) -> None:
        super().__init__("worker")
        self.blobs: list[bytes] = []

    def blob(self, trace: TraceContext, blob: bytes) -> None:
        self.blobs.append(blob)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def sink() -> Sink:
    return Sink()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def channel(sink: Sink) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    ScopedServer(
        server,
        lambda method: [
            lambda call: TracingScope(call, "worker", sink),
            lambda _call: ErrorsScope(method),
            DeadlineScope,
        ],
    ).add_registered_method_handlers("test.Worker", HANDLERS)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with channels.connect(f"127.0.0.1:{port}", channels.no_token) as connected:
        yield connected
    await server.stop(None)


Ask = Callable[[str, bytes, float], Awaitable[bytes]]


@pytest.fixture
def ask(channel: grpc.aio.Channel) -> Ask:
    async def asking(shape: str, request: bytes, timeout: float = 5.0) -> bytes:
        call: Any = getattr(channel, shape)(f"/test.Worker/{shape}")
        sent = _once(request) if shape.startswith("stream") else request
        if shape.endswith("unary"):
            return bytes(await call(sent, timeout=timeout))
        return b" ".join([response async for response in call(sent, timeout=timeout)])

    return asking


async def _once(request: bytes) -> AsyncIterator[bytes]:
    yield request


@pytest.fixture
def recording() -> Recording:
    recorded = telemetry.begin("test", TraceContext(new_trace_id()), record=True)
    assert recorded is not None
    set_budget(None)
    return recorded


def _statuses(recording: Recording) -> tuple[int, int, int]:
    """Status of the caller's span, of the callee's, and of the statement in it."""
    (client,) = recording.spans
    assert client.child is not None
    server, statement = unpack(client.child, 1, client.start, client.duration)
    assert client.start <= server.start <= statement.start <= statement.end <= server.end
    return client.status, server.status, statement.status


@pytest.mark.parametrize("shape", SHAPES)
async def test_ok(shape: str, ask: Ask, recording: Recording) -> None:
    assert (await ask(shape, b"fine", 5.0)).endswith(b"answer")
    assert _statuses(recording) == (0, 0, 0)


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_domain_error_has_its_code_and_reason(shape: str, ask: Ask, recording: Recording) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(shape, b"missing", 5.0)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert b"AGENT_NOT_FOUND" in dict(caught.value.trailing_metadata() or ())[DETAILS_KEY]
    assert _statuses(recording) == (5, 5, 5)


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_bug_is_internal_and_tells_nothing(shape: str, ask: Ask, recording: Recording) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(shape, b"bug", 5.0)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in str(caught.value)
    assert _statuses(recording) == (13, 13, 2)


@pytest.mark.parametrize("shape", SHAPES)
async def test_past_the_deadline_the_callee_exports_by_itself(
    shape: str, ask: Ask, recording: Recording, sink: Sink
) -> None:
    sink.blobs.clear()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(shape, b"slow", 0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await _until(lambda: bool(sink.blobs))
    server, statement = unpack(sink.blobs[0], 1, 0, 0)
    assert (recording.spans[0].status, server.status, statement.status) == (4, 1, 1)
    assert 150_000_000 < statement.end - statement.start < 2_000_000_000


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_callers_cancel_reaches_the_statement(shape: str, ask: Ask, recording: Recording, sink: Sink) -> None:
    sink.blobs.clear()
    task = asyncio.ensure_future(ask(shape, b"slow", 5.0))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until(lambda: bool(sink.blobs))
    server, statement = unpack(sink.blobs[0], 1, 0, 0)
    assert (recording.spans[0].status, server.status, statement.status) == (1, 1, 1)


async def _until(true: Callable[[], bool], seconds: float = 3.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what it waits for happens in a server, which has no event for it
            await asyncio.sleep(0.01)
