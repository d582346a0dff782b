"""Reports are added up once, whoever sends them and however often."""

from random import Random

import msgspec
import pytest

from services.runtime.errors import InvalidFields, OperationNotFound
from services.traces.attribution import Blame
from services.traces.histograms import Histogram
from services.traces.latency import Latencies, Report
from services.traces.population import Request
from services.traces.windows import BLOCK_SECONDS, MAX_OPERATIONS, OTHER_OPERATIONS, WINDOW_SECONDS

NOW = 1_000_000
MS = 1_000_000


def _report(operation: str, latencies: list[int], start: int = NOW - 10) -> Report:
    histogram = Histogram()
    for latency in latencies:
        histogram.add(Request(latency, 1, {"gateway": latency}, trace_id=f"{latency:x}"))
    return Report(operation, start, msgspec.msgpack.encode(histogram.to_wire()))


@pytest.fixture
def latencies() -> Latencies:
    return Latencies(1.0, 10**9, Random(1), clock=lambda: float(NOW))


def _seen(latencies: Latencies, seconds: float = 300, end: float | None = None) -> dict[str, int]:
    """Requests by operation."""
    return {name: figures.requests for name, figures in latencies.operations(latencies.stretch(seconds, end))}


def test_a_report_that_comes_twice_counts_once(latencies: Latencies) -> None:
    for _ in range(3):
        latencies.report("one", 1, [_report("a", [MS] * 10)])
    latencies.report("two", 1, [_report("a", [MS] * 5)])
    assert _seen(latencies) == {"a": 15}


def test_reports_of_many_gateways_are_one_population(latencies: Latencies) -> None:
    for source in range(4):
        latencies.report(f"gateway {source}", 1, [_report("a", [(n * 4 + source + 1) * MS for n in range(1_000)])])
    judged = latencies.blame("a", 99.0, latencies.stretch(300))
    assert judged.requests == 4_000
    assert judged.latency == pytest.approx(3_960 * MS, rel=0.03)
    assert isinstance(judged.blame, Blame)
    assert sum(share.time for share in judged.blame.shares) == judged.latency


def _absurd(place: int) -> bytes:
    """A histogram in which one number is as large as a message can have it."""
    bucket: list[object] = [5, 1, 1, 1_000, 1_000, 1_000, 0, "", 0, 0, 0, [[0, 1_000, 1, 10**10]]]
    bucket[place] = [[0, 2**64 - 1, 1, 1]] if place == PARTS else 2**64 - 1
    return msgspec.msgpack.encode([1, ["gateway"], [bucket]])


PARTS = 11
BROKEN = {
    "no histogram": Report("b", NOW, b"\xc1"),
    "a name without end": Report("b" * 1_001, NOW, Histogram().pack()),
    **{f"absurd {place}": Report("b", NOW, _absurd(place)) for place in (1, 2, 3, 4, 5, 6, 8, 9, 10, PARTS)},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_report_adds_nothing_and_may_be_sent_again(latencies: Latencies, broken: Report) -> None:
    with pytest.raises(InvalidFields):
        latencies.report("one", 1, [_report("a", [MS]), broken])
    assert _seen(latencies) == {}
    latencies.report("one", 1, [_report("a", [MS])])
    assert _seen(latencies) == {"a": 1}


@pytest.mark.parametrize(("source", "sequence"), [("", 1), ("one", 0), ("one", -1)])
def test_a_report_needs_a_source_and_a_number(latencies: Latencies, source: str, sequence: int) -> None:
    with pytest.raises(InvalidFields):
        latencies.report(source, sequence, [])


def test_windows_outside_the_question_do_not_count(latencies: Latencies) -> None:
    latencies.report("one", 1, [_report("old", [MS], NOW - 600), _report("new", [MS], NOW - WINDOW_SECONDS)])
    assert _seen(latencies, 60) == {"new": 1}
    with pytest.raises(OperationNotFound):
        latencies.blame("old", 99.0, latencies.stretch(60))


def test_what_is_older_than_the_store_keeps_is_gone(latencies: Latencies) -> None:
    latencies.report("one", 1, [_report("ancient", [MS], NOW - 7_200)])
    assert _seen(latencies, 1e9) == {}


@pytest.mark.parametrize("percentile", [0.0, 49.9, 100.0, float("nan")])
def test_a_percentile_has_bounds(latencies: Latencies, percentile: float) -> None:
    with pytest.raises(InvalidFields):
        latencies.blame("a", percentile, latencies.stretch(300))


def test_endless_operation_names_become_one(latencies: Latencies) -> None:
    latencies.report("one", 1, [_report(f"op {number}", [MS]) for number in range(MAX_OPERATIONS + 200)])
    seen = _seen(latencies)
    assert len(seen) == MAX_OPERATIONS + 1
    assert seen[OTHER_OPERATIONS] == 200


def test_an_end_cuts_off_what_came_later(latencies: Latencies) -> None:
    for ago in (10, 110, 210):
        latencies.report(f"{ago}", 1, [_report(f"{ago} s ago", [MS], NOW - ago)])
    assert set(_seen(latencies, 100, NOW - 100)) == {"110 s ago"}
    assert set(_seen(latencies, 200, NOW - 100)) == {"110 s ago", "210 s ago"}


def test_a_source_whose_clock_is_ahead_counts_now() -> None:
    latencies = Latencies(1.0, 10**9, Random(1), clock=lambda: NOW + 0.5)
    latencies.report("fast", 1, [_report("a", [MS], NOW + 7_200)])
    assert _seen(latencies, WINDOW_SECONDS) == {"a": 1}


def test_what_is_late_goes_where_it_belongs(latencies: Latencies) -> None:
    block = NOW - NOW % BLOCK_SECONDS - BLOCK_SECONDS
    latencies.report("one", 1, [_report("a", [MS], block), _report("a", [MS], block + 10)])
    assert _seen(latencies, 3_600) == {"a": 2}  # asked before, so that what was merged for it is not stale
    latencies.report("two", 1, [_report("a", [MS] * 3, block)])
    assert _seen(latencies, 3_600) == {"a": 5}
    assert _seen(latencies, 10, block + 10) == {"a": 4}


def test_a_long_stretch_is_the_sum_of_its_windows(latencies: Latencies) -> None:
    random, every = Random(11), Histogram()
    for start in range(NOW - 3_500, NOW, WINDOW_SECONDS):
        some = [random.randrange(1, 100) * MS for _ in range(5)]
        latencies.report(f"{start}", 1, [_report("a", some, start)])
        for latency in some:
            every.add(Request(latency, 1, {"gateway": latency}))
    for operation in ("a", ""):
        judged = latencies.blame(operation, 99.0, latencies.stretch(3_600))
        assert (judged.requests, judged.latency, judged.median) == (1_750, every.quantile(0.99), every.quantile(0.5))


@pytest.mark.parametrize(
    ("seconds", "steps", "expected"),
    [(300, 30, 30), (300, 360, 30), (60, 3, 3), (60, 4, 3), (5, 30, 1), (3_600, 7, 7), (1, 1, 1)],
)
def test_steps_tile_the_window(latencies: Latencies, seconds: float, steps: int, expected: int) -> None:
    found = [step for step, _ in latencies.timeline("a", 99.0, latencies.stretch(seconds, NOW - 3), steps)]
    assert len(found) == expected <= steps
    assert [step.high for step in found[:-1]] == [step.low for step in found[1:]]
    assert all((step.high - step.low) % WINDOW_SECONDS == step.low % WINDOW_SECONDS == 0 for step in found)
    assert found[-1].high - WINDOW_SECONDS < NOW - 3 <= found[-1].high
    assert found[0].low <= NOW - 3 - seconds + WINDOW_SECONDS


def test_each_step_has_what_happened_in_it_and_an_empty_one_has_nothing(latencies: Latencies) -> None:
    for ago, count in ((300, 5), (200, 7), (10, 11)):
        latencies.report(f"{ago}", 1, [_report("a", [ago * MS] * count, NOW - ago)])
    steps = [figures for _, figures in latencies.timeline("a", 99.0, latencies.stretch(300), 3)]
    assert [one.requests for one in steps] == [5, 7, 11]
    assert [one.p99 for one in steps] == [300 * MS, 200 * MS, 10 * MS]
    assert [dict(one.shares) for one in steps] == [{"gateway": one.p99} for one in steps]
    steps = [figures for _, figures in latencies.timeline("a", 99.0, latencies.stretch(300), 30)]
    assert [(one.requests, one.p99, dict(one.shares)) for one in steps[1:10]] == [(0, 0, {})] * 9


def test_shares_sum_to_what_they_are_of(latencies: Latencies) -> None:
    random, histogram = Random(3), Histogram()
    for _ in range(500):
        parts = {label: random.randrange(10 * MS) for label in ("gateway", "graph", "auth/postgres")}
        histogram.add(Request(sum(parts.values()), 1, parts))
    latencies.report("one", 1, [Report("a", NOW - 10, histogram.pack())])
    [(_, figures)] = latencies.operations(latencies.stretch(60))
    [(_, step)] = latencies.timeline("a", 95.0, latencies.stretch(10), 1)
    assert sum(figures.shares.values()) == figures.p99 == step.p99
    assert sum(step.shares.values()) == figures.p95
    assert sum(figures.median_shares.values()) == sum(step.median_shares.values()) == figures.p50
    assert list(figures.shares.values()) == sorted(figures.shares.values(), reverse=True)


def test_the_oldest_windows_go_when_there_is_too_much() -> None:
    latencies = Latencies(1.0, 5_000, Random(1), clock=lambda: float(NOW))
    for number, start in enumerate(range(NOW - 1_000, NOW, WINDOW_SECONDS), 1):
        latencies.report("one", number, [_report(f"at {start}", [MS], start)])
    assert 5 < len(_seen(latencies, 3_600)) < 30
    assert f"at {NOW - WINDOW_SECONDS}" in _seen(latencies, 3_600)


@pytest.mark.parametrize("percentile", [99.9999, 99.99999, 99.9999999999])
def test_a_percentile_may_be_as_near_to_100_as_one_likes(latencies: Latencies, percentile: float) -> None:
    latencies.report("one", 1, [_report("a", [MS, 2 * MS])])
    assert latencies.blame("a", percentile, latencies.stretch(300)).latency == pytest.approx(2 * MS, rel=0.03)
