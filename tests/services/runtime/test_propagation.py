"""W3C Trace Context and Baggage: what is taken from a caller, and what callees of callees are given."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import pytest

from services.runtime import channels, span_wire
from services.runtime.errors import ErrorsScope
from services.runtime.export import SpanExport
from services.runtime.scopes import Context, ScopedServer
from services.runtime.span_wire import unpack
from services.runtime.trace_context import TraceContext, UnreadTrace, extract
from services.runtime.tracing import TracingScope

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"

TAKEN = [
    (GOOD, True),
    (f"00-{TRACE}-{SPAN}-00", False),
    (f"00-{TRACE}-{SPAN}-03", True),
    (f"00-{TRACE}-{SPAN}-fe", False),
    (f"01-{TRACE}-{SPAN}-01", True),
    (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
    (f"fe-{TRACE}-{SPAN}-00-", False),
]


@pytest.mark.parametrize(("header", "sampled"), TAKEN)
def test_the_first_four_fields_of_any_version_are_taken(header: str, sampled: bool) -> None:
    for trace in (extract(header), UnreadTrace(header)):
        assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE, int(SPAN, 16), sampled)


def test_an_unread_trace_is_read_once() -> None:
    trace = UnreadTrace(None)
    assert trace.trace_id == trace.trace_id
    with pytest.raises(AttributeError):
        assert trace.nothing


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"0G-{TRACE}-{SPAN}-01",
        f"CC-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD},{GOOD}",
    ],
)
def test_anything_else_begins_a_new_trace_without_the_state_of_the_old_one(header: str) -> None:
    for read in (extract, UnreadTrace):
        trace = read(header, "congo=t61rcWkgMzE", "user=ada")
        assert trace.trace_id != TRACE
        assert (trace.parent_id, trace.sampled, trace.state) == (None, False, "")
        assert trace.carried == (("baggage", "user=ada"),)


CARRIED = [
    ("", "", ()),
    ("congo=1,rojo=2", "", (("tracestate", "congo=1,rojo=2"),)),
    ("", "user=ada;secret=no", (("baggage", "user=ada;secret=no"),)),
    ("a=" + "x" * 510, "b=" + "y" * 8_190, (("tracestate", "a=" + "x" * 510), ("baggage", "b=" + "y" * 8_190))),
    ("a=" + "x" * 511, "b=" + "y" * 8_191, ()),
    ("a=\xe9", "b=\x00", ()),
]


@pytest.mark.parametrize(("state", "baggage", "carried"), CARRIED)
def test_state_and_baggage_are_carried_unchanged_up_to_their_limits(state: str, baggage: str, carried: Any) -> None:
    assert extract(GOOD, state, baggage).carried == carried


class Exported(SpanExport):
    """The traces that a service exported by itself."""

    def __init__(self) -> None:
        super().__init__("worker")
        self.calls: list[tuple[TraceContext, bytes]] = []

    def blob(self, trace: TraceContext, blob: bytes) -> None:
        self.calls.append((trace, blob))


Handler = Callable[[bytes, Context], Any]


@asynccontextmanager
async def serving(handler: Handler, export: SpanExport) -> AsyncIterator[str]:
    """The address of a server with one method, traced as ours are."""
    server = grpc.aio.server()
    scoped = ScopedServer(server, lambda _method: [partial(TracingScope, "worker", export, True), ErrorsScope])
    scoped.add_registered_method_handlers("test.Worker", {"Work": grpc.unary_unary_rpc_method_handler(handler)})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def call(address: str, **metadata: str) -> dict[str, Any]:
    """Ask like a stranger, and return the trailers."""
    async with grpc.aio.insecure_channel(address) as channel:
        work: Any = channel.unary_unary("/test.Worker/Work")
        rpc = work(b"", metadata=tuple(metadata.items()))
        await rpc
        return dict(await rpc.trailing_metadata())


@asynccontextmanager
async def chain(export: SpanExport) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A service that calls another one; and what that one got, call by call."""
    got: list[dict[str, Any]] = []

    async def inner(_request: bytes, context: Context) -> bytes:
        got.append(dict(context.invocation_metadata() or ()))
        return b""

    async with serving(inner, export) as callee, channels.connect(callee, channels.no_token, None) as channel:
        work: Any = channel.unary_unary("/test.Worker/Work")

        async def outer(_request: bytes, _context: Context) -> bytes:
            return bytes(await work(b""))

        async with serving(outer, export) as address:
            yield address, got


async def test_the_callee_of_a_callee_gets_state_and_baggage_unchanged() -> None:
    async with chain(Exported()) as (address, got):
        await call(address, traceparent=GOOD, tracestate="congo=1,rojo=2", baggage="user=ada")
        await call(address, traceparent=GOOD)
        await call(address, baggage="user=ada")
    assert [(each.get("tracestate"), each.get("baggage")) for each in got] == [
        ("congo=1,rojo=2", "user=ada"),
        (None, None),
        (None, "user=ada"),
    ]


async def test_a_sampled_caller_who_does_not_ask_gets_spans_exported_under_its_own() -> None:
    export = Exported()
    async with chain(export) as (address, got):
        trailers = await call(address, traceparent=GOOD)
    [(trace, blob)] = export.calls  # the callee's spans are in it: the ask is hop by hop
    outer, client, inner = unpack(blob, trace.parent_id or 0, 0, 0)
    assert (trace.trace_id, outer.parent_id, client.parent_id, inner.parent_id) == (
        TRACE,
        int(SPAN, 16),
        outer.span_id,
        client.span_id,
    )
    assert got[0]["traceparent"] == f"00-{TRACE}-{int(client.span_id):016x}-01"
    assert got[0][span_wire.ASK_KEY] == "1"
    assert span_wire.BLOB_KEY not in trailers


@pytest.mark.parametrize("metadata", [{}, {"traceparent": f"00-{TRACE}-{SPAN}-00"}])
async def test_nothing_is_recorded_for_who_neither_asks_nor_samples(metadata: dict[str, str]) -> None:
    export = Exported()
    async with chain(export) as (address, got):
        await call(address, **metadata)
    assert not export.calls
    assert span_wire.ASK_KEY not in got[0]
    assert got[0]["traceparent"].endswith("-00")


async def test_who_asks_without_sampling_gets_the_spans_and_nobody_else_does() -> None:
    export = Exported()
    async with chain(export) as (address, got):
        trailers = await call(address, **{"traceparent": f"00-{TRACE}-{SPAN}-00", span_wire.ASK_KEY: "1"})
    assert not export.calls
    assert got[0]["traceparent"].endswith("-00")
    assert len(list(unpack(trailers[span_wire.BLOB_KEY], 1, 0, 0))) == 3
