"""The blob survives the trip, keeps its caps, and bad ones do no harm."""

import msgspec
import pytest

from services.runtime.span_wire import MAX_BYTES, MAX_NESTING, Kind, Recorded, Span, add_span, pack, unpack

RECORDED_MS = 1_000
"""Recorded times are microseconds, those of assembled traces nanoseconds."""
MS = 1_000_000


def _recorded(index: int, duration: int = RECORDED_MS, child: bytes | None = None) -> Recorded:
    kind = Kind.CLIENT if child else Kind.POSTGRES
    return Recorded(index, 0, kind, f"SELECT number {index}", RECORDED_MS, duration, 0, child)


def test_spans_come_back_centred_in_the_callers_span() -> None:
    blob = pack(
        "graph", "/neurectomy.graph.v1.GraphService/ListNeighbors", 1 << 40, 6 * RECORDED_MS, 5, 0, [_recorded(1)]
    )
    server, statement = unpack(blob, parent_id=7, start=100 * MS, duration=10 * MS)
    assert (server.span_id, server.parent_id, server.service, server.kind) == (1 << 40, 7, "graph", Kind.SERVER)
    assert (server.start, server.end, server.status) == (102 * MS, 108 * MS, 5)
    assert (statement.span_id, statement.parent_id) == ((1 << 40) + 1, 1 << 40)
    assert (statement.start, statement.end) == (103 * MS, 104 * MS)


def test_children_are_opened_inside_their_client_span() -> None:
    inner = pack("auth", "/a", 1 << 50, 2 * RECORDED_MS, 0, 0, [_recorded(1)])
    outer = pack("graph", "/b", 1 << 40, 9 * RECORDED_MS, 0, 0, [_recorded(1, 4 * RECORDED_MS, inner)])
    spans = list(unpack(outer, 7, 0, 9 * MS))
    assert [(span.service, span.kind) for span in spans] == [
        ("graph", Kind.SERVER),
        ("graph", Kind.CLIENT),
        ("auth", Kind.SERVER),
        ("auth", Kind.POSTGRES),
    ]
    assert spans[2].parent_id == spans[1].span_id
    assert (spans[2].start, spans[2].end) == (2 * MS, 4 * MS)


def test_past_the_cap_children_shrink_first_and_then_the_shortest_spans_go() -> None:
    inner = pack("auth", "/a", 1 << 50, 2 * RECORDED_MS, 0, 0, [_recorded(index) for index in range(1, 50)])
    spans = [
        _recorded(1, 5 * RECORDED_MS, inner),
        _recorded(2, 6 * RECORDED_MS, inner),
        *(_recorded(3 + n, n) for n in range(60)),
    ]
    blob = pack("graph", "/b", 1 << 40, 9 * RECORDED_MS, 0, 0, spans)
    assert len(blob) <= MAX_BYTES
    unpacked = list(unpack(blob, 7, 0, 9 * MS))
    servers = [span for span in unpacked if span.kind == Kind.SERVER]
    dropped = [span.attributes["neurectomy.spans.dropped"] if span.attributes else 0 for span in servers]
    assert sorted(dropped[1:]) == [0, 49]
    assert len(unpacked) + sum(map(int, dropped)) == 1 + len(spans) + 2 * 50
    assert {span.end - span.start for span in unpacked if span.kind == Kind.CLIENT} == {5 * MS, 6 * MS}


BAD = {
    "empty": b"",
    "noise": b"\xff\x00\x12",
    "another shape": msgspec.msgpack.encode({"version": 1}),
    "another version": msgspec.msgpack.encode([3, "graph", "/b", 1, 1, 0, 0, [], 0]),
    "a wrong type": msgspec.msgpack.encode([2, "graph", "/b", "base", 1, 0, 0, [], 0]),
    "the version before": msgspec.msgpack.encode([1, "graph", "/b", 1, 1, 0, 0, []]),
    "a negative id": msgspec.msgpack.encode([2, "graph", "/b", -1, 1, 0, 0, [], 0]),
    "a negative duration": msgspec.msgpack.encode([2, "graph", "/b", 1, -1, 0, 0, [], 0]),
    "a negative lag": msgspec.msgpack.encode([2, "graph", "/b", 1, 1, 0, 0, [], -1]),
    "fewer dropped than none": msgspec.msgpack.encode([2, "graph", "/b", 1, 1, 0, -1, [], 0]),
    "dropped past 64 bits, twice": msgspec.msgpack.encode([2, "graph", "/b", 1, 1, 0, 2**64 - 1, [], 0]),
    "a begin before the call": msgspec.msgpack.encode([2, "graph", "/b", 1, 1, 0, 0, [[1, 0, 3, "x", -1, 1]], 0]),
    "an endless span": msgspec.msgpack.encode([2, "graph", "/b", 1, 1, 0, 0, [[1, 0, 3, "x", 1, 2**63]], 0]),
}


@pytest.mark.parametrize("blob", BAD.values(), ids=BAD.keys())
def test_what_cannot_be_read_is_nothing(blob: bytes) -> None:
    assert list(unpack(blob, 7, 0, MS)) == []


def test_nesting_ends_at_eight() -> None:
    blob = pack("deepest", "/d", 1, RECORDED_MS, 0, 0, [])
    for depth in range(20):
        blob = pack(f"level {depth}", "/d", 1, RECORDED_MS, 0, 0, [_recorded(1, RECORDED_MS, blob)])
    servers: list[Span] = [span for span in unpack(blob, 7, 0, MS) if span.kind == Kind.SERVER]
    assert len(servers) == MAX_NESTING


def opened(call: Recorded, begin: int) -> list[Span]:
    spans: list[Span] = []
    add_span(spans, 7, "gateway", call, begin)
    return spans


def test_time_that_was_waited_for_event_loops_lies_between_the_spans_and_only_the_rest_is_centred() -> None:
    blob = pack("graph", "/b", 1 << 40, 4 * RECORDED_MS, 0, 0, [], lag=2 * RECORDED_MS)
    call = Recorded(1, 0, Kind.CLIENT, "/b", 0, 10 * RECORDED_MS, 0, blob, None, RECORDED_MS)
    client, server = opened(call, 100 * MS)
    assert (client.start, client.end, client.lag) == (100 * MS, 110 * MS, MS)
    assert (server.start, server.end, server.lag) == (103 * MS + MS // 2, 107 * MS + MS // 2, 2 * MS)


@pytest.mark.parametrize(("slack", "before", "after"), [(6, 4, 2), (3, 2, 1), (0, 0, 0), (-1, 0, 0)])
def test_lags_are_no_longer_than_what_the_call_took_beyond_its_callee(slack: int, before: int, after: int) -> None:
    blob = pack("graph", "/b", 1 << 40, 5 * RECORDED_MS, 0, 0, [], lag=4 * RECORDED_MS)
    call = Recorded(1, 0, Kind.CLIENT, "/b", 0, (5 + slack) * RECORDED_MS, 0, blob, None, 2 * RECORDED_MS)
    client, server = opened(call, 0)
    assert (server.lag, client.lag) == (before * MS, after * MS)
