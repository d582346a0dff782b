"""Buckets: their stated error, their bounds, merging without loss, and the blame that the requests themselves give."""

import json
from collections.abc import Callable
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.traces.attribution import Blame, TooFew, blame
from services.traces.histograms import FLOOR, LAST, MAX_LABELS, OTHER, PER_DOUBLING, Histogram, bucket_of
from services.traces.population import Population, Request

MS = 1_000_000
ERROR = 2 ** (1 / PER_DOUBLING) - 1

few_labels = some.sampled_from(["auth", "auth/postgres", "graph", OTHER])
many_labels = some.integers(0, 150).map(lambda number: f"service {number:03}")
requests = some.builds(
    lambda parts, weight, trace, incomplete: Request(
        sum(parts.values()), weight, parts, dict.fromkeys(parts, 2), trace, incomplete, not incomplete, weight % 3
    ),
    some.dictionaries(few_labels | many_labels, some.integers(0, 10**11), max_size=30),
    some.integers(1, 100),
    some.text(some.characters(codec="utf-8"), max_size=4),
    some.booleans(),
)


def histogram(requests: list[Request]) -> Histogram:
    filled = Histogram()
    for one in requests:
        filled.add(one)
    return filled


def of(latencies: list[int]) -> list[Request]:
    return [Request(latency, 1, {"auth": latency}) for latency in latencies]


POPULATIONS: dict[str, Callable[[Random], float]] = {
    "skewed": lambda random: random.lognormvariate(15, 1),
    "bimodal": lambda random: random.gauss(3e6, 2e5) if random.random() < 0.985 else random.gauss(4e8, 1e7),
    "heavy-tailed": lambda random: random.paretovariate(1.1) * 1e6,
    "all but equal": lambda random: 1e7 + random.randrange(3),
    "a step at the 99th": lambda random: 1e6 if random.random() < 0.99 else 1e9,
}


@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("name", POPULATIONS)
def test_quantiles_are_within_the_stated_error(name: str, quantile: float) -> None:
    random = Random(name)
    population = of([int(max(FLOOR, POPULATIONS[name](random))) for _ in range(20_000)])
    exact = Population.of(population).quantile(quantile)
    assert abs(histogram(population).quantile(quantile) - exact) <= ERROR * exact < 0.03 * exact


@given(some.lists(some.integers(FLOOR, 4 * 10**12), min_size=1, max_size=50), some.floats(0.01, 0.99))
def test_no_population_makes_the_error_larger(latencies: list[int], quantile: float) -> None:
    exact = Population.of(of(latencies)).quantile(quantile)
    assert abs(histogram(of(latencies)).quantile(quantile) - exact) <= ERROR * exact + 1


@given(some.lists(some.integers(0, 10**13), min_size=1, max_size=50), some.floats(0.01, 0.99))
def test_an_answer_knows_its_own_error(latencies: list[int], quantile: float) -> None:
    """Also beyond the ends of the scale, where it may be large."""
    exact, buckets = Population.of(of(latencies)), histogram(of(latencies)).population()
    true, error = exact.quantile(quantile), buckets.error(quantile)
    assert exact.error(quantile) == 0
    assert error == 100 or abs(buckets.quantile(quantile) - true) <= error / 100 * true + 1


@given(some.integers(FLOOR, 4 * 10**12), some.integers(FLOOR, 4 * 10**12))
def test_one_bucket_spans_less_than_three_per_cent(one: int, other: int) -> None:
    low, high = sorted([one, other])
    assert bucket_of(low) <= bucket_of(high)
    if bucket_of(low) == bucket_of(high):
        assert high <= low * (1 + ERROR) * (1 + 1e-12)


def test_the_ends_of_the_scale_take_what_is_beyond_them() -> None:
    assert [bucket_of(latency) for latency in (-5, 0, 1, FLOOR)] == [0, 0, 0, 0]
    assert bucket_of(10**18) == LAST
    assert histogram(of([0] * 10)).quantile(0.5) == 0


@given(some.lists(requests, max_size=40), some.integers(0, 40))
def test_merging_two_gives_exactly_the_whole(population: list[Request], cut: int) -> None:
    merged = histogram(population[:cut])
    merged.merge(histogram(population[cut:]))
    assert merged == histogram(population)
    other_way = histogram(population[cut:])
    other_way.merge(histogram(population[:cut]))
    assert other_way == merged
    assert Histogram.unpack(merged.pack()) == merged


@given(some.randoms(use_true_random=False), some.integers(0, 300))
def test_which_of_too_many_labels_stay_is_not_up_to_who_came_first(random: Random, cut: int) -> None:
    population = [Request(MS, 1, {f"service {number % 150:03}": MS}) for number in range(300)]
    shuffled = random.sample(population, len(population))
    merged = histogram(shuffled[cut:])
    merged.merge(histogram(shuffled[:cut]))
    assert merged == histogram(population)


def test_merging_leaves_the_other_as_it_was() -> None:
    one, other = histogram(of([MS])), histogram(of([MS]))
    one.merge(other)
    one.add(*of([MS]))
    assert other == histogram(of([MS]))


@given(some.lists(requests, max_size=20))
def test_the_wire_brings_back_the_same_state(population: list[Request]) -> None:
    filled = histogram(population)
    packed = msgspec.msgpack.encode(filled.to_wire())
    assert Histogram.from_wire(msgspec.msgpack.decode(packed)) == filled
    assert Histogram.from_wire(json.loads(json.dumps(filled.to_wire()))) == filled
    assert msgspec.msgpack.encode(histogram(population[::-1]).to_wire()) == packed


GOOD = histogram(of([MS])).to_wire()
[BUCKET] = GOOD[2]


@pytest.mark.parametrize(
    "wire",
    [
        None,
        b"",
        [],
        {},
        [1, [], []][:2],
        [2, *GOOD[1:]],
        [1, [], GOOD[2]],
        [1, GOOD[1], [BUCKET[:-1]]],
        [1, GOOD[1], [[-1, *BUCKET[1:]]]],
        [1, GOOD[1], [[LAST + 1, *BUCKET[1:]]]],
        [1, GOOD[1], [[BUCKET[0], 0, *BUCKET[2:]]]],
        [1, GOOD[1], [[*BUCKET[:2], 0, *BUCKET[3:]]]],
        [1, GOOD[1], [[*BUCKET[:-1], [[0, -1, 0, 0]]]]],
        [1, GOOD[1], [[*BUCKET[:-1], [[0, 1, 0, 0]]]]],  # parts that do not sum to the latency
        [1, GOOD[1], [[*BUCKET[:-1], [[-1, 1, 0, 0]]]]],
    ],
    ids=repr,
)
def test_what_is_no_histogram_is_refused(wire: object) -> None:
    with pytest.raises(ValueError, match="histogram"):
        Histogram.from_wire(wire)


def test_labels_are_bounded_and_lose_no_time() -> None:
    population = [Request(3 * MS, 1, {f"service {n:03}": MS, "a": 2 * MS}) for n in range(1_000)]
    filled = histogram(population)
    [group] = filled.buckets.values()
    assert len(filled.labels) == MAX_LABELS
    assert len(group.parts) == MAX_LABELS + 1
    assert group.parts["a"].time == 2_000 * MS
    assert group.parts[OTHER].time == (1_000 - (MAX_LABELS - 1)) * MS
    assert sum(part.time for part in group.parts.values()) == group.latency


def test_buckets_are_bounded() -> None:
    random = Random(1)
    assert len(histogram(of([int(10 ** random.uniform(0, 18)) for _ in range(20_000)])).buckets) <= LAST + 1


def slow_search(random: Random, number: int) -> Request:
    """2 % of requests are 50 ms slower, all of it in one statement."""
    parts = {
        "gateway": int(random.uniform(1, 2) * MS),
        "vector_search/postgres": int(random.uniform(8, 12) * MS) + 50 * MS * (number % 50 == 0),
        "graph/neo4j": int(random.expovariate(1) * MS),
    }
    return Request(sum(parts.values()), 1, parts, dict.fromkeys(parts, 3), f"trace {number}")


def test_the_blame_is_the_one_that_the_requests_themselves_give() -> None:
    random = Random(7)
    population = [slow_search(random, number) for number in range(10_000)]
    exact = blame(Population.of(population), random=random)
    answer = histogram(population).blame(random=random)
    assert isinstance(exact, Blame)
    assert isinstance(answer, Blame)
    assert sum(share.time for share in answer.shares) == answer.latency
    assert sum(share.excess for share in answer.shares) == answer.latency - answer.median
    assert sum(share.tail for share in answer.shares) == answer.tail
    assert abs(answer.latency - exact.latency) <= ERROR * exact.latency
    assert (answer.requests, answer.in_tail) == (exact.requests, exact.in_tail)
    assert answer.slowest_trace_id == exact.slowest_trace_id
    for share, true in zip(answer.shares, exact.shares, strict=True):
        assert share.label == true.label
        assert share.calls == pytest.approx(3)
        assert abs(share.time - true.time) <= 0.03 * exact.latency
        assert share.low <= true.time <= share.high
    assert answer.shares[0].label == "vector_search/postgres"
    assert abs(answer.shares[0].excess - 50 * MS) < 3 * MS


def test_too_few_are_too_few_in_buckets_too() -> None:
    assert histogram(of(list(range(MS, MS + 2_999)))).blame(random=Random(1)) == TooFew(2_999, 29)
    assert isinstance(histogram(of(list(range(MS, MS + 3_000)))).blame(random=Random(1)), Blame)
