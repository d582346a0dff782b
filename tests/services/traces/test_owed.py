"""What is added up in one look is what the critical path says, of any recording at all."""

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.runtime.span_wire import DROPPED, Kind, Recorded, Span, add_span, pack
from services.traces.critical_path import calls, critical_path, shares
from services.traces.owed import Owed, Unusual

METHODS = ("/neurectomy.graph.v1.GraphService/BatchTraverse", "/elsewhere.Service/Do")
SERVICES = ("gateway", "graph", "auth")
KINDS = (*Kind, *[Kind.CLIENT] * 10)
FEW = some.integers(0, 3)


@some.composite
def processes(draw: some.DrawFn, bases: Iterator[int], ordinary: bool, depth: int = 2) -> tuple[list[Recorded], int]:
    """Spans of one process and how long it took, in so few microseconds that ties and overlaps are common.

    Ordinary ones are all the process's own, end one after another, and have room for their callees.
    """
    spans: list[Recorded] = []
    end = 0
    for number in range(1, 1 + draw(some.integers(0, 4))):
        kind, name, child, inside = draw(some.sampled_from(KINDS)), draw(some.sampled_from(METHODS)), None, 0
        if depth and kind == Kind.CLIENT:
            child, inside = draw(blobs(bases, ordinary, depth - 1))
        if ordinary:
            duration = inside + 1 + draw(FEW)
            end = max(end + 1 + draw(FEW), duration)
            parent, start = 0, end - duration
        else:
            parent, start, duration = draw(some.sampled_from((0, 0, number - 1, 9))), draw(FEW), draw(FEW) + draw(FEW)
        spans.append(Recorded(number, parent, kind, name, start, duration, 0, child, None, draw(FEW)))
    return spans, end + draw(FEW) + ordinary


@some.composite
def blobs(draw: some.DrawFn, bases: Iterator[int], ordinary: bool, depth: int) -> tuple[bytes, int]:
    """What a callee sends home, with all that its own callees sent it, and how long it took."""
    spans, duration = draw(processes(bases, ordinary, depth))
    service = draw(some.sampled_from(SERVICES if ordinary else ("", *SERVICES)))
    return pack(service, METHODS[0], next(bases), duration, 0, draw(FEW), spans, draw(FEW)), duration


@some.composite
def recordings(draw: some.DrawFn, ordinary: bool) -> tuple[list[Recorded], int]:
    """What a request left at the gateway, and its latency in nanoseconds."""
    spans, duration = draw(processes(count(1_000, 1_000), ordinary))
    return spans, duration * 1_000 + draw(some.integers(0, 999))


def assert_as_the_path_says(owed: Owed, spans: list[Recorded], latency: int) -> None:
    placed = [Span(0, None, "gateway", Kind.SERVER, "query", 0, latency)]
    for span in spans:
        add_span(placed, 0, "gateway", span, 0)
    path = critical_path(placed)
    assert (owed.shares, owed.calls) == (shares(path), calls(path))
    assert sum(owed.shares.values()) == latency
    assert owed.dropped == sum(int(span.attributes[DROPPED]) for span in placed if span.attributes)
    assert not path.ambiguous
    assert not path.incomplete


@given(recordings(ordinary=True))
def test_an_ordinary_request_is_added_up_as_its_path_says(recorded: tuple[list[Recorded], int]) -> None:
    spans, latency = recorded
    assert_as_the_path_says(Owed("gateway", spans, latency), spans, latency)


@given(recordings(ordinary=False))
def test_any_other_request_is_added_up_as_its_path_says_or_not_at_all(recorded: tuple[list[Recorded], int]) -> None:
    spans, latency = recorded
    try:
        owed = Owed("gateway", spans, latency)
    except Unusual:
        return
    assert_as_the_path_says(owed, spans, latency)


CALL = Recorded(1, 0, Kind.CLIENT, METHODS[0], 1, 8)


def test_what_is_nested_too_deep_is_not_opened() -> None:
    span = CALL._replace(start=0, duration=1)
    for depth in range(1, 12):
        blob = pack(f"s{depth}", METHODS[0], depth * 1_000, depth, 0, 1, [span])
        span = CALL._replace(start=0, duration=depth + 1, child=blob)
    assert_as_the_path_says(Owed("gateway", [span], 12_000), [span], 12_000)
    longer = CALL._replace(number=2, start=0, duration=13)
    assert_as_the_path_says(Owed("gateway", [span, longer], 13_000), [span, longer], 13_000)


UNUSUAL = {
    "a span inside another": [Recorded(2, 1, Kind.INTERNAL, "inner", 2, 2), Recorded(1, 0, Kind.INTERNAL, "o", 1, 8)],
    "a span whose parent had no room": [Recorded(2, 1, Kind.INTERNAL, "inner", 2, 2)],
    "an empty span whose parent had no room": [Recorded(2, 1, Kind.INTERNAL, "inner", 2, 0)],
    "two that end together": [CALL, CALL._replace(number=2, start=2, duration=7)],
    "not in the order of their ends": [CALL, CALL._replace(number=2, start=2, duration=2)],
    "longer than the request": [CALL._replace(duration=10)],
    "a callee that took longer than the call": [CALL._replace(child=pack("graph", "/x", 7, 9, 0, 0, []))],
    "a callee without a name": [CALL._replace(child=pack("", "/x", 7, 5, 0, 0, []))],
    "a call in no time that had no room for its spans": [
        CALL._replace(duration=0, child=pack("a", "/x", 7, 0, 0, 3, []))
    ],
    "a callee that took no time": [CALL._replace(child=pack("graph", "/x", 7, 0, 0, 0, []))],
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_what_one_look_cannot_judge_is_left_to_the_critical_path(case: str) -> None:
    with pytest.raises(Unusual):
        Owed("gateway", UNUSUAL[case], 10_000)
