"""Spans belong to the request that caused them, and hang under what they happened in, however its tasks run."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import grpc
import pytest
import pytest_asyncio
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime import telemetry
from services.runtime.background import detached
from services.runtime.errors import AgentNotFound
from services.runtime.export import SpanExport
from services.runtime.outcomes import CODES, OK
from services.runtime.span_wire import MAX_BYTES, MAX_NESTING, MAX_SPANS, Kind, Recorded, Span, pack, unpack
from services.runtime.telemetry import OpenSpan, Recording, span
from services.runtime.trace_context import TraceContext, new_trace_id
from tests.services.runtime.worker import PERMISSION, SHAPES, Authority, answered, recorded, stub, working

AUTHORITY = Authority()
MS = 1_000_000
DROPPED = "neurectomy.spans.dropped"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def worker() -> AsyncIterator[grpc.aio.Channel]:
    async with working(AUTHORITY, SpanExport("worker")) as target, grpc.aio.insecure_channel(target) as channel:
        yield channel


def tree(recording: Recording) -> dict[str, str | None]:
    """The name of each span -> that of its parent, None for the request itself."""
    names = {span.number: span.name for span in recording.spans}
    assert len(names) == len(recording.spans)
    assert {span.parent for span in recording.spans} <= {0, *names}
    return {span.name: names.get(span.parent) for span in recording.spans}


async def leaf(name: str) -> None:
    with span(Kind.POSTGRES, name):
        await asyncio.sleep(0)


async def branch(name: str) -> None:
    with span(Kind.INTERNAL, name):
        await leaf(f"{name}.1")
        await leaf(f"{name}.2")


async def one_by_one() -> None:
    await branch("a")
    await branch("b")


async def gathered() -> None:
    await asyncio.gather(branch("a"), branch("b"))


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(branch("a"))
        group.create_task(branch("b"))


async def in_threads_of_thought() -> None:
    """Two generators that are taken from in turns."""

    async def steps(name: str) -> AsyncGenerator[str, None]:
        await branch(name)
        yield name

    async with aclosing(steps("a")) as first, aclosing(steps("b")) as second:
        assert [await anext(first), await anext(second)] == ["a", "b"]


async def in_a_group_that_fails() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(branch("a"))
        group.create_task(_fails())


async def _fails() -> None:
    with span(Kind.INTERNAL, "c"):
        await branch("d")
        raise LookupError


BRANCHES = {"a.1": "a", "a.2": "a", "b.1": "b", "b.2": "b"}
WAYS: list[Callable[[], Awaitable[None]]] = [one_by_one, gathered, in_a_group, in_threads_of_thought]


@pytest.mark.parametrize("way", WAYS)
async def test_parents_are_right(way: Callable[[], Awaitable[None]]) -> None:
    recording = recorded()
    await way()
    with span(Kind.INTERNAL, "outer"):
        await way()
        await leaf("inner")
    await leaf("last")
    before, after = recording.spans[:6], recording.spans[6:]
    assert {span.name for span in before} == {span.name for span in after} - {"outer", "inner", "last"}
    recording.spans[:] = before
    assert tree(recording) == {**BRANCHES, "a": None, "b": None}
    recording.spans[:] = after
    assert tree(recording) == {**BRANCHES, "a": "outer", "b": "outer", "inner": "outer", "outer": None, "last": None}


async def test_after_an_error_the_parent_is_again_what_it_was() -> None:
    recording = recorded()
    with span(Kind.INTERNAL, "outer"):
        with pytest.raises(ExceptionGroup):
            await in_a_group_that_fails()
        await leaf("inner")
    assert tree(recording)["inner"] == "outer"
    statuses = {span.name: CODES[span.status] for span in recording.spans}
    assert (statuses["c"], statuses["d"], statuses["outer"]) == ("UNKNOWN", "OK", "OK")


async def _closed(generator: AsyncGenerator[int, None]) -> None:
    await generator.aclose()


async def test_a_generator_that_is_closed_elsewhere_ends_its_span() -> None:
    recording = recorded()

    async def endless() -> AsyncGenerator[int, None]:
        with span(Kind.INTERNAL, "outer"):
            while True:
                yield 1

    responses = endless()
    await anext(responses)
    await detached(_closed(responses))
    assert [(span.name, CODES[span.status]) for span in recording.spans] == [("outer", "CANCELLED")]


@pytest.mark.parametrize("shape", SHAPES)
async def test_calls_hang_under_what_they_were_made_in(worker: grpc.aio.Channel, shape: str) -> None:
    recording, call = recorded(), stub(worker, AUTHORITY.token(PERMISSION), shape)
    with span(Kind.INTERNAL, "outer"):
        await asyncio.gather(*(answered(call, shape, "answer") for _ in range(3)))
    *calls, outer = recording.spans
    assert [(span.parent, span.kind, span.status) for span in calls] == [(outer.number, Kind.CLIENT, OK)] * 3
    for made in calls:
        inside = list(unpack(made.child or b"", 7, 0, made.duration))
        assert [span.name for span in inside] == [made.name, "SELECT answer"]
        assert (inside[0].parent_id, inside[1].parent_id) == (7, inside[0].span_id)


async def test_streams_that_are_read_in_turns_do_not_mix(worker: grpc.aio.Channel) -> None:
    recording, call = recorded(), stub(worker, AUTHORITY.token(PERMISSION), "unary_stream")
    with span(Kind.INTERNAL, "outer"):
        first, second = (call(StringValue(value="answer, then answer")) for _ in range(2))
        for responses in (first, second, second, first):
            await anext(responses)
            await leaf("between")
        assert [[item async for item in responses] for responses in (first, second)] == [[], []]
    outer = recording.spans[-1]
    assert {span.parent for span in recording.spans[:-1]} == {outer.number}
    calls = [list(unpack(made.child, 7, 0, MS)) for made in recording.spans if made.child]
    assert [[span.name for span in inside[1:]] for inside in calls] == [["SELECT answer"] * 2] * 2


async def test_two_requests_in_one_loop_never_mix(worker: grpc.aio.Channel) -> None:
    async def request(name: str) -> dict[str, str | None]:
        recording = recorded()
        for number in range(20):
            await asyncio.gather(leaf(f"{name} {number} a"), leaf(f"{name} {number} b"))
        await answered(stub(worker, AUTHORITY.token(PERMISSION), "stream_stream"), "stream_stream", "answer")
        assert telemetry.current_recording() is recording
        return tree(recording)

    first, second = await asyncio.gather(request("first"), request("second"))
    assert {name.split()[0] for name in first} == {"first", "/test.Worker/stream_stream"}
    assert {name.split()[0] for name in second} == {"second", "/test.Worker/stream_stream"}
    assert (len(first), len(second)) == (41, 41)


async def test_what_outlives_its_request_is_no_part_of_it() -> None:
    recording, go = recorded(), asyncio.Event()

    async def late() -> bool:
        with span(Kind.INTERNAL, "open at the end"):
            await go.wait()
            await leaf("begun after the end")
        return OpenSpan(Kind.CLIENT, "asks for no spans").recording is None

    task = asyncio.create_task(late())
    await leaf("in time")
    blob = recording.pack("worker", OK)
    go.set()
    assert await task
    assert [span.name for span in recording.spans] == ["in time"]
    assert [span.name for span in unpack(blob, 7, 0, MS)] == ["test", "in time"]


async def test_outside_a_request_nothing_is_recorded() -> None:
    async def background() -> None:
        with span(Kind.INTERNAL, "outer"):
            await leaf("inner")
        assert (telemetry.current_recording(), telemetry.current_trace_id()) == (None, None)

    recording = recorded()
    await detached(background())
    assert recording.spans == []


def _made(durations: list[int]) -> Recording:
    recording = Recording("test", TraceContext(new_trace_id()))
    for number, duration in enumerate(durations, 1):
        recording.add(Recorded(number, 0, Kind.POSTGRES, "x", 0, duration * MS))
    return recording


@given(st.lists(st.integers(0, 10_000), max_size=3 * MAX_SPANS))
def test_the_longest_stay_and_the_others_are_counted(durations: list[int]) -> None:
    recording = _made(durations)
    kept = sorted(span.duration // MS for span in recording.spans)
    assert kept == sorted(durations)[-MAX_SPANS:]
    assert recording.dropped == max(0, len(durations) - MAX_SPANS)


names = st.text("abcdefghij /", min_size=1, max_size=120)


def _all(blob: bytes) -> int:
    """How many spans a blob has or says that it lacks."""
    spans = list(unpack(blob, 7, 0, MS))
    return len(spans) + sum(int((span.attributes or {}).get(DROPPED, 0)) for span in spans)


@settings(max_examples=100)
@given(st.lists(st.lists(names, max_size=MAX_SPANS), min_size=1, max_size=MAX_NESTING - 1), st.integers(1, 8))
def test_a_blob_keeps_its_cap_and_tells_what_it_lacks(levels: list[list[str]], width: int) -> None:
    blob, total = pack("service", "/a", 1, MS, 0, 0, []), 1
    for level in levels:
        calls = [Recorded(number, 0, Kind.CLIENT, "/b", 0, MS * number, 0, blob) for number in range(1, width + 1)]
        leaves = [Recorded(width + n, 0, Kind.POSTGRES, name, 0, MS) for n, name in enumerate(level, 1)]
        blob = pack("service", "/a", 1, MS, 0, 0, [*calls, *leaves])
        total = 1 + len(leaves) + width * (1 + total)
        assert len(blob) <= MAX_BYTES
        assert _all(blob) == total


def test_spans_that_a_dropped_call_brought_are_counted() -> None:
    recording = _made([2] * MAX_SPANS)
    recording.add(Recorded(65, 0, Kind.CLIENT, "/b", 0, MS, 0, _nested(3)))
    assert recording.dropped == 1 + _all(_nested(3))
    calls = [Recorded(number, 0, Kind.CLIENT, "/b" * 20, 0, MS, 0, _nested(3)) for number in range(1, MAX_SPANS + 1)]
    assert _all(pack("service", "/a", 1, MS, 0, 0, calls)) == 1 + MAX_SPANS * (1 + _all(_nested(3)))


def _nested(depth: int) -> bytes:
    blob = pack("service", "/a", 1, MS, AgentNotFound.code.value[0], 0, [])
    for _ in range(depth - 1):
        blob = pack("service", "/a", 1, MS, OK, 0, [Recorded(1, 0, Kind.CLIENT, "/a", 0, MS, OK, blob)])
    return blob


@pytest.mark.parametrize("depth", [1, MAX_NESTING - 1, MAX_NESTING, MAX_NESTING + 1, 20])
def test_what_is_nested_deeper_than_eight_is_left_out(depth: int) -> None:
    servers = [span for span in unpack(_nested(depth), 7, 0, MS) if span.kind == Kind.SERVER]
    assert len(servers) == min(depth, MAX_NESTING)


WHOLE = pack("service", "/a", 1 << 40, MS, OK, 3, [Recorded(1, 0, Kind.CLIENT, "/b", 0, MS, OK, _nested(3), {"a": 1})])


@given(st.binary(max_size=200))
def test_noise_is_no_blob(noise: bytes) -> None:
    assert isinstance(list(unpack(noise, 7, 0, MS)), list)


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(WHOLE)))
def test_a_spoilt_blob_does_no_harm(changes: list[tuple[int, int]], length: int) -> None:
    spoilt = bytearray(WHOLE)
    for at, value in changes:
        spoilt[at] = value
    for blob in (bytes(spoilt), bytes(spoilt[:length])):
        for found in unpack(blob, 7, 0, MS):
            assert isinstance(found, Span)
        outer = pack("caller", "/c", 1, MS, OK, 0, [Recorded(1, 0, Kind.CLIENT, "/a", 0, MS, OK, blob)])
        assert [span.service for span in unpack(outer, 7, 0, MS)][:2] == ["caller", "caller"]
