"""Work that outlasts its call's time is stopped so early that its end, and its spans, still reach the caller."""

import asyncio
from functools import partial
from typing import Any

import grpc
import pytest

from services.runtime import channels, telemetry
from services.runtime.deadlines import DeadlineScope, set_budget, time_left, way_home
from services.runtime.errors import DeadlineExceeded, ErrorsScope
from services.runtime.export import SpanExport
from services.runtime.outcomes import DEADLINE_EXCEEDED, SLACK_PART, SLACK_SECONDS
from services.runtime.scopes import Context, ScopedServer
from services.runtime.span_wire import Kind, unpack
from services.runtime.telemetry import span
from services.runtime.trace_context import extract
from services.runtime.tracing import TracingScope


async def _statement(_request: bytes, _context: Context) -> bytes:
    with span(Kind.NEO4J, "MATCH everything"):
        try:
            async with asyncio.timeout(time_left(30)):
                await asyncio.sleep(30)
        except TimeoutError as error:
            raise DeadlineExceeded from error
    return b""


async def test_a_statement_that_takes_all_of_a_calls_time_is_seen_by_the_caller() -> None:
    server, tracing = grpc.aio.server(), partial(TracingScope, "worker", SpanExport("worker"), True)
    scoped = ScopedServer(server, lambda _method: [tracing, ErrorsScope, DeadlineScope])
    handlers: dict[str, Any] = {"Work": grpc.unary_unary_rpc_method_handler(_statement)}
    scoped.add_registered_method_handlers("test.Worker", handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    recording = telemetry.begin("test", extract(None), record=True)
    set_budget(None)
    async with channels.connect(f"127.0.0.1:{port}", channels.no_token, None) as channel:
        work: Any = channel.unary_unary("/test.Worker/Work")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await work(b"", timeout=1.0)
    await server.stop(None)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert recording is not None
    blob = recording.spans[0].child
    assert blob is not None
    ended = [(found.service, found.kind, found.status) for found in unpack(blob, 1, 0, 0)]
    assert ended == [("worker", Kind.SERVER, DEADLINE_EXCEEDED), ("worker", Kind.NEO4J, DEADLINE_EXCEEDED)]


@pytest.mark.parametrize("seconds", [0.3, 1.0, 10.0, 300.0])
def test_the_way_home_begins_before_an_end_counts_as_late(seconds: float) -> None:
    assert SLACK_SECONDS + SLACK_PART * seconds < way_home(seconds) <= seconds / 4


def test_a_short_call_keeps_most_of_its_time() -> None:
    assert way_home(0.04) == 0.01
