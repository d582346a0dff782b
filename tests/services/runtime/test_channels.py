"""The caller's side of a call: it has one span, whatever becomes of the call."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
import pytest_asyncio
from google.protobuf.wrappers_pb2 import StringValue

from deploy.local import ports
from services.runtime.channels import OPTIONS, Token, callers_token
from services.runtime.deadlines import set_budget
from services.runtime.errors import DeadlineExceeded, TokenInvalid
from services.runtime.export import SpanExport
from services.runtime.outcomes import CODES
from services.runtime.span_wire import Kind, Span, add_span
from services.traces.critical_path import critical_path, shares
from tests.services.runtime.worker import (
    BLOCK_SECONDS,
    PERMISSION,
    SHAPES,
    Authority,
    answered,
    recorded,
    stub,
    working,
)

WORKER = "tests.services.runtime.worker"
ENDLESS = "answer without end"
AUTHORITY = Authority()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def worker() -> AsyncIterator[grpc.aio.Channel]:
    async with working(AUTHORITY, SpanExport("worker")) as target, grpc.aio.insecure_channel(target) as channel:
        yield channel


@asynccontextmanager
async def another_process() -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str]]:
    """A worker of its own, its target and a token."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", WORKER, stdin=PIPE, stdout=PIPE)
    assert child.stdout is not None
    target, token = (await child.stdout.readline()).decode().split()
    try:
        yield child, target, token
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@pytest.mark.parametrize("shape", SHAPES)
async def test_of_a_killed_worker_the_callers_span_is_left(shape: str) -> None:
    recording = recorded()
    async with (
        another_process() as (child, target, token),
        grpc.aio.insecure_channel(target, options=OPTIONS) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answered(stub(channel, token, shape), shape, "die")
        assert await child.wait() == -signal.SIGKILL
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert [(CODES[span.status], span.child) for span in recording.spans] == [("UNAVAILABLE", None)]


async def test_a_call_that_waits_for_a_busy_loop_says_whose_it_was() -> None:
    """A worker blocks its loop while another call waits for it; half of the block is enough to tell."""
    async with another_process() as (_, target, token), grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        call = stub(channel, token, "unary_unary")
        await answered(call, "unary_unary", "answer")
        blocking = asyncio.create_task(answered(call, "unary_unary", "block"))
        await asyncio.sleep(0.1)
        recording = recorded()
        await answered(call, "unary_unary", "answer")
        await blocking
    spans: list[Span] = [Span(recording.base, None, "test", Kind.SERVER, "test", 0, recording.elapsed())]
    for recorded_span in recording.spans:
        add_span(spans, recording.base, "test", recorded_span, 0)
    owed = shares(critical_path(spans))
    assert sum(owed.values()) == spans[0].end
    assert owed["worker/loop"] > BLOCK_SECONDS / 2 * 1e9 > owed.get("worker/wait", 0)


@pytest.mark.parametrize("shape", SHAPES)
async def test_with_nobody_there_the_callers_span_says_so(shape: str) -> None:
    recording = recorded()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.settle({'worker': 0})['worker']}") as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await answered(stub(channel, None, shape), shape, "answer")
    assert [CODES[span.status] for span in recording.spans] == ["UNAVAILABLE"]


async def _no_token_to_be_had() -> str | None:
    raise TokenInvalid


def _out_of_time() -> Token:
    set_budget(0.0)
    return callers_token


NOT_SENT = [
    (_out_of_time, DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (lambda: _no_token_to_be_had, TokenInvalid, "UNAUTHENTICATED"),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("spoil", "error", "status"), NOT_SENT)
async def test_what_is_never_sent_has_a_span_too(
    worker: grpc.aio.Channel, shape: str, spoil: Callable[[], Token], error: type[Exception], status: str
) -> None:
    recording = recorded()
    with pytest.raises(error):
        await answered(stub(worker, spoil(), shape), shape, "answer")
    set_budget(None)
    assert [(CODES[span.status], span.child) for span in recording.spans] == [(status, None)]


async def test_a_stream_that_is_dropped_or_closed_ends_at_once(worker: grpc.aio.Channel) -> None:
    recording = recorded()
    for close in (True, False):
        responses = stub(worker, AUTHORITY.token(PERMISSION), "unary_stream")(StringValue(value=ENDLESS))
        await anext(responses)
        if close:
            await responses.aclose()
            await responses.aclose()
            assert [response async for response in responses] == []
        del responses
    assert [CODES[span.status] for span in recording.spans] == ["CANCELLED", "CANCELLED"]
