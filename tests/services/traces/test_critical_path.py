"""The worked examples, the rules as properties of any trace, and what hostile input must not do."""

import json
from pathlib import Path as File
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.runtime.span_wire import Kind
from services.traces.critical_path import Path, Span, by_service, calls, critical_path, place, shares

EXAMPLES = json.loads((File(__file__).parent / "attribution_examples.json").read_text())["cases"]
BESIDE = (Kind.FOLLOWS, Kind.FIELD)
FAR = 10**18
"""Nanoseconds between two clocks that have nothing to do with each other."""


def span(
    span_id: int | str,
    parent_id: int | str | None,
    service: str,
    start: int,
    end: int,
    kind: Kind = Kind.INTERNAL,
    peer: str = "",
    lag: int = 0,
) -> Span:
    return Span(span_id, parent_id, service, kind, str(span_id), start, end, peer=peer, lag=lag)


def sections(path: Path) -> list[tuple[int | str, int, int]]:
    """Span, start and end; what was cut at a loop's lag is one section again."""
    found: list[tuple[int | str, int, int]] = []
    for span, start, end, _ in path.sections:
        if found and found[-1][0] == span.span_id:
            found[-1] = (span.span_id, start, found[-1][2])
        else:
            found.append((span.span_id, start, end))
    return found


def shift(spans: list[Span], by: int) -> list[Span]:
    return [
        span(s.span_id, s.parent_id, s.service, s.start + by, s.end + by, Kind(s.kind), s.peer, s.lag) for s in spans
    ]


def assert_tiles(path: Path, start: int, end: int) -> None:
    """Latest first, nothing empty, no gap, nothing twice."""
    for _, section_start, section_end, _ in path.sections:
        assert section_start < section_end == end
        end = section_start
    assert end == start


@pytest.mark.parametrize("case", EXAMPLES, ids=lambda case: case["title"])
def test_worked_example(case: dict[str, Any]) -> None:
    spans = [Span(**{**raw, "kind": Kind[raw["kind"]]}) for raw in case["spans"]]
    path = critical_path(spans)
    assert sections(path) == [tuple(section) for section in case["sections_latest_first"]]
    assert by_service(path) == case["by_service"]


@some.composite
def traces(draw: some.DrawFn) -> list[Span]:
    """Any tree of up to 30 spans on few distinct times, so that ties, empty spans and overlaps are common."""
    times = some.integers(-3, 20)
    start, end = sorted([draw(times), draw(times)])
    spans = [span(0, None, "gateway", start, end)]
    for number in range(1, draw(some.integers(1, 30))):
        start, end = sorted([draw(times), draw(times)])
        service, kind = draw(some.sampled_from(["gateway", "auth", "graph"])), draw(some.sampled_from(Kind))
        parent, lag = draw(some.integers(0, number - 1)), draw(some.integers(0, 4))
        spans.append(span(number, parent, service, start, end, kind, "graph", lag))
    return spans


@some.composite
def hostile(draw: some.DrawFn) -> list[Span]:
    """Anything: missing parents, several roots or none, rings, ids that come twice, ends before starts."""
    ids, times = some.integers(0, 8), some.integers(-3, 20)
    make = some.builds(
        span, ids, ids | some.none(), some.sampled_from("abc"), times, times, some.sampled_from(Kind), some.just("d")
    )
    return draw(some.lists(make, min_size=1, max_size=20))


@given(traces())
def test_sections_tile_the_root_and_parts_sum_to_the_whole(spans: list[Span]) -> None:
    path = critical_path(spans)
    assert_tiles(path, spans[0].start, spans[0].end)
    duration = spans[0].end - spans[0].start
    assert sum(shares(path).values()) == sum(by_service(path).values()) == duration
    assert not path.incomplete


@given(traces(), some.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(spans: list[Span], random: Any) -> None:
    shuffled = random.sample(spans, len(spans))
    assert critical_path(shuffled) == critical_path(spans)
    assert sorted(map(repr, place(shuffled))) == sorted(map(repr, place(spans)))


@given(traces(), some.integers(-FAR, FAR))
def test_a_shift_in_time_shifts_the_path_and_changes_no_share(spans: list[Span], by: int) -> None:
    path, shifted = critical_path(spans), critical_path(shift(spans, by))
    assert sections(shifted) == [(span_id, start + by, end + by) for span_id, start, end in sections(path)]
    assert shares(shifted) == shares(path)


def literally(span: Span, start: int, end: int, spans: list[Span]) -> list[tuple[int | str, int, int]]:
    """Rules 3 to 6 as they are written, on placed spans: slow and recursive, to compare with."""
    children = [(max(c.start, start), min(c.end, end), c) for c in spans if c.parent_id == span.span_id]
    blocking = [child for child in children if child[0] < child[1] and child[2].kind not in BESIDE]
    found, until = [], end
    while fitting := [child for child in blocking if child[1] <= until]:
        child_start, child_end, child = min(fitting, key=lambda c: (-c[1], c[0], c[2].span_id))
        found += [(span.span_id, child_end, until)] if child_end < until else []
        found += literally(child, child_start, child_end, spans)
        until = child_start
    return found + ([(span.span_id, start, until)] if start < until else [])


@given(traces())
def test_the_path_is_what_the_rules_say(spans: list[Span]) -> None:
    assert sections(critical_path(spans)) == literally(spans[0], spans[0].start, spans[0].end, place(spans))


@given(traces())
def test_placing_twice_is_placing_once_and_the_path_is_that_of_the_placed_spans(spans: list[Span]) -> None:
    placed = place(spans)
    assert place(placed) == placed
    assert sections(critical_path(placed)) == sections(critical_path(spans))


@given(traces())
def test_every_callee_is_placed_inside_its_client_span(spans: list[Span]) -> None:
    placed = {span.span_id: span for span in place(spans)}
    for callee in placed.values():
        caller = placed.get(-1 if callee.parent_id is None else callee.parent_id)
        if callee.kind == Kind.SERVER and caller is not None and caller.kind == Kind.CLIENT:
            assert caller.start <= callee.start <= callee.end <= caller.end


@given(hostile(), some.randoms(use_true_random=False))
def test_hostile_input_neither_hangs_nor_loses_time(spans: list[Span], random: Any) -> None:
    path, placed = critical_path(spans), place(spans)
    root = placed[0]
    assert_tiles(path, root.start, max(root.start, root.end))
    assert {span.span_id for span in placed} == {span.span_id for span in spans}
    assert critical_path(random.sample(spans, len(spans))) == path


def calling(skew: int = 0, server: tuple[int, int] = (0, 60)) -> list[Span]:
    """A gateway calls agent_store, which runs a statement; the callee's clock is off by `skew`."""
    start, end = server
    return [
        span(1, None, "gateway", 1_000, 1_100),
        span(2, 1, "gateway", 1_010, 1_090, Kind.CLIENT, peer="agent_store"),
        *shift(
            [
                span(3, 2, "agent_store", start, end, Kind.SERVER),
                span(4, 3, "agent_store", start + 10, start + 50, Kind.POSTGRES),
            ],
            skew,
        ),
    ]


@pytest.mark.parametrize("skew", [0, 1_010, 1_020, 1_030, 1_080, -FAR, FAR], ids=str)
def test_the_callees_clock_changes_no_share(skew: int) -> None:
    path = critical_path(calling(skew))
    assert shares(path) == {
        "gateway": 20,
        "agent_store/wait": 20,
        "agent_store": 20,
        "agent_store/postgres": 40,
    }
    assert not path.incomplete
    assert not path.ambiguous


@pytest.mark.parametrize(
    ("server", "placed"),
    [
        ((0, 60), (1_010, 1_070)),  # times of its own: from the client span's start
        ((1_020, 1_080), (1_020, 1_080)),  # it fits: nothing is shifted
        ((1_050, 1_110), (1_030, 1_090)),  # it sticks out: shifted just enough
        ((0, 100), (1_010, 1_090)),  # longer than the call: centred and clipped
    ],
)
def test_placing(server: tuple[int, int], placed: tuple[int, int]) -> None:
    _, _, callee, statement = place(calling(server=server))
    assert (callee.start, callee.end) == placed
    length = server[1] - server[0]
    assert (statement.start + statement.end) // 2 == sum(placed) // 2 - length // 2 + 30
    assert statement.end - statement.start == 40


def test_inside_one_process_nothing_is_shifted() -> None:
    spans = [span(1, None, "gateway", 0, 50), span(2, 1, "gateway", 40, 70), span(3, 2, "gateway", 45, 60)]
    assert place(spans) == spans


def test_labels() -> None:
    spans = [
        span(1, None, "gateway", 0, 100, Kind.SERVER),
        span(2, 1, "gateway", 0, 20, Kind.CLIENT, peer="auth"),
        span(3, 1, "gateway", 20, 60, Kind.CLIENT, peer="ignored: the callee says who it is"),
        span(4, 3, "vector_search", 25, 55, Kind.SERVER),
        span(5, 4, "vector_search", 25, 30, Kind.POOL_WAIT),
        span(6, 4, "vector_search", 30, 40, Kind.EMBEDDING),
        span(7, 4, "vector_search", 40, 50, Kind.POSTGRES),
        span(8, 1, "gateway", 60, 70, Kind.REDIS),
        span(9, 1, "graph", 70, 80, Kind.NEO4J),
        span(10, 1, "gateway", 80, 99, Kind.CLIENT),
    ]
    assert shares(critical_path(spans)) == {
        "gateway": 1,
        "remote": 19,
        "graph/neo4j": 10,
        "gateway/redis": 10,
        "vector_search/wait": 10,
        "vector_search": 5,
        "vector_search/postgres": 10,
        "vector_search/embedding": 10,
        "vector_search/pool wait": 5,
        "auth/remote": 20,
    }


def test_twenty_calls_are_counted_as_twenty() -> None:
    statements = [span(n, 1, "auth", 4 * n, 4 * n + 3, Kind.POSTGRES) for n in range(2, 22)]
    path = critical_path([span(1, None, "auth", 0, 100), *statements])
    assert calls(path) == {"auth": 1, "auth/postgres": 20}
    assert shares(path) == {"auth": 40, "auth/postgres": 60}


def test_a_handover_is_not_on_the_path() -> None:
    spans = [span(1, None, "gateway", 0, 50), span(2, 1, "gateway", 10, 50, Kind.FOLLOWS), span(3, 2, "auth", 20, 30)]
    assert sections(critical_path(spans)) == [(1, 0, 50)]


def test_a_lost_parent_is_flagged_and_its_child_still_counts() -> None:
    path = critical_path([span(1, None, "gateway", 0, 50), span(3, 2, "auth", 10, 30, Kind.POSTGRES)])
    assert path.incomplete
    assert shares(path) == {"gateway": 30, "auth/postgres": 20}


def test_the_part_of_a_trace_below_a_span_that_never_came_is_flagged() -> None:
    assert critical_path([span(2, 1, "auth", 0, 50), span(3, 2, "auth", 10, 30)]).incomplete


@pytest.mark.parametrize(
    ("first", "second", "ambiguous"),
    [
        ((10, 40), (10, 40), True),
        ((10, 40), (20, 40), True),  # the earlier start is a rule, not knowledge
        ((10, 60), (20, 70), True),  # both outlive the parent, which waited for neither or for either
        ((10, 40), (40, 40), False),  # an empty span held nobody up
        ((10, 20), (20, 40), False),
        ((10, 39), (20, 40), False),
    ],
)
def test_ends_at_the_same_instant_are_flagged(first: tuple[int, int], second: tuple[int, int], ambiguous: bool) -> None:
    path = critical_path([span(1, None, "gateway", 0, 50), span(2, 1, "auth", *first), span(3, 1, "graph", *second)])
    assert path.ambiguous == ambiguous


def test_ties_go_to_the_earlier_start_then_to_the_smaller_id() -> None:
    late_start, early_start = span(2, 1, "auth", 20, 40), span(4, 1, "graph", 10, 40)
    twin = span(3, 1, "traces", 10, 40)
    root = span(1, None, "gateway", 0, 50)
    assert sections(critical_path([root, late_start, early_start])) == [(1, 40, 50), (4, 10, 40), (1, 0, 10)]
    assert sections(critical_path([root, early_start, twin])) == [(1, 40, 50), (3, 10, 40), (1, 0, 10)]


def test_what_was_waited_for_a_loop_is_owed_by_whoever_kept_it_busy() -> None:
    root, call = span(1, None, "gateway", 0, 100), span(2, 1, "gateway", 10, 90, Kind.CLIENT, "graph", lag=15)
    path = critical_path([root, call, span(3, 2, "graph", 30, 70, Kind.SERVER, lag=5)])
    assert [(start, end, label) for _, start, end, label in path.sections] == [
        (90, 100, "gateway"),
        (75, 90, "gateway/loop"),
        (70, 75, "graph/wait"),
        (30, 70, "graph"),
        (25, 30, "graph/loop"),
        (10, 25, "graph/wait"),
        (0, 10, "gateway"),
    ]


def test_a_field_that_waits_beside_its_call_owes_nothing() -> None:
    field, call = span(2, 1, "gateway", 5, 95, Kind.FIELD), span(3, 1, "gateway", 10, 90, Kind.CLIENT, "graph")
    path = critical_path([span(1, None, "gateway", 0, 100), field, call])
    assert shares(path) == {"gateway": 20, "graph/remote": 80}


def test_rings_are_cut_and_flagged() -> None:
    ring = [span(2, 3, "auth", 10, 30), span(3, 2, "auth", 12, 20)]
    path = critical_path([span(1, None, "gateway", 0, 50), *ring])
    assert path.incomplete
    assert sections(path) == [(1, 30, 50), (2, 20, 30), (3, 12, 20), (2, 10, 12), (1, 0, 10)]
    assert sections(critical_path(ring)) == [(2, 20, 30), (3, 12, 20), (2, 10, 12)]
    assert sections(critical_path([span(1, 1, "gateway", 0, 50)])) == [(1, 0, 50)]


def test_a_span_exported_twice_counts_once() -> None:
    spans = calling()
    assert critical_path(spans + spans) == critical_path(spans)


@pytest.mark.parametrize("upwards", [False, True])
def test_five_thousand_spans_deep(upwards: bool) -> None:
    depth = 5_000
    spans = [span(n, n - 1 if n else None, "auth", n, 3 * depth - n) for n in range(depth)]
    path = critical_path(spans[::-1] if upwards else spans)
    assert_tiles(path, 0, 3 * depth)
    assert len(path.sections) == 2 * depth - 1
    assert len(place(spans)) == depth


def test_no_span_is_no_trace() -> None:
    with pytest.raises(ValueError, match="at least one span"):
        critical_path([])
