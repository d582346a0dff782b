"""The exact split of a quantile: its sums, its refusal, and drills in which the guilty one is known."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.runtime.span_wire import Kind
from services.traces.attribution import Blame, Share, TooFew, apportion, blame, change, coverage, split
from services.traces.critical_path import Span, calls, critical_path, shares
from services.traces.population import Population, Request

MS = 1_000_000
LABELS = some.sampled_from(["auth", "auth/postgres", "graph", "graph/wait"])
PARTS = some.dictionaries(LABELS, some.integers(0, 10**10), min_size=1)


def request(parts: dict[str, int], weight: int = 1) -> Request:
    return Request(sum(parts.values()), weight, parts)


def blamed(requests: list[Request], quantile: float = 0.99) -> Blame:
    answer = blame(Population.of(requests), quantile, random=Random(1))
    assert isinstance(answer, Blame)
    return answer


def by_label(answer: Blame) -> dict[str, Share]:
    return {share.label: share for share in answer.shares}


requests = some.lists(some.builds(request, PARTS, some.integers(1, 50)), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("latencies", "quantile", "value"),
    [
        (range(1, 101), 0.99, 99),
        (range(1, 102), 0.99, 100),
        (range(1, 100), 0.99, 99),
        (range(1, 201), 0.99, 198),
        (range(1, 1001), 0.999, 999),
        (range(1, 101), 0.5, 50),
        (range(1, 101), 0.07, 7),  # 0.07 * 100 is more than 7 in floating point
        ([5], 0.99, 5),
        ([5] * 99 + [9], 0.99, 5),
        ([5] * 98 + [9] * 2, 0.99, 9),
    ],
)
def test_the_quantile_is_the_smallest_latency_with_that_part_at_or_below(
    latencies: list[int], quantile: float, value: int
) -> None:
    assert Population.of(request({"auth": latency}) for latency in latencies).quantile(quantile) == value


@given(requests, some.floats(0.01, 0.999))
def test_a_request_of_some_weight_is_that_many_requests(weighted: list[Request], quantile: float) -> None:
    single = [one._replace(weight=1) for one in weighted for _ in range(one.weight)]
    assert Population.of(weighted).quantile(quantile) == Population.of(single).quantile(quantile)


@given(requests, some.floats(0.01, 0.999))
def test_the_parts_sum_to_the_quantile_exactly(population: list[Request], quantile: float) -> None:
    parts = split(Population.of(population), quantile)
    assert sum(parts.values()) == Population.of(population).quantile(quantile)
    assert min(parts.values(), default=0) >= 0


@given(requests, some.floats(0.01, 0.999), some.randoms(use_true_random=False))
def test_the_order_of_requests_changes_nothing(population: list[Request], quantile: float, random: Random) -> None:
    shuffled = random.sample(population, len(population))
    assert split(Population.of(shuffled), quantile) == split(Population.of(population), quantile)


@given(some.integers(0, 10**15), some.dictionaries(some.text(max_size=3), some.integers(0, 10**15), max_size=12))
def test_apportioning_loses_nothing_and_is_off_by_less_than_one(whole: int, amounts: dict[str, int]) -> None:
    parts, total = apportion(whole, amounts), sum(amounts.values())
    assert sum(parts.values()) == whole
    for label, amount in amounts.items():
        assert not total or abs(parts[label] * total - whole * amount) < total


def test_the_largest_remainders_get_the_rest_and_equal_ones_go_by_name() -> None:
    assert apportion(10, {"b": 1, "a": 1, "c": 1}) == {"a": 4, "b": 3, "c": 3}
    assert apportion(7, {"a": 10, "b": 24, "c": 36}) == {"a": 1, "b": 2, "c": 4}
    assert apportion(7, {"a": 10, "b": 26, "c": 34}) == {"a": 1, "b": 3, "c": 3}
    assert apportion(5, {}) == {"untraced": 5}


def drill(make: Callable[[Random, int], dict[str, int]], count: int = 10_000) -> list[Request]:
    random = Random(3)
    return [request(make(random, number)) for number in range(count)]


def usual(random: Random, number: int) -> dict[str, int]:
    """About 10 ms."""
    return {"auth": int(random.uniform(3, 4) * MS), "graph": int(random.uniform(5, 7) * MS)}


def never_slow_together(random: Random, number: int) -> dict[str, int]:
    """Either service is 10 ms slower in 0.7 % of requests, the other one in others."""
    slow = {0: "auth", 71: "graph"}.get(number % 143)
    return {label: time + 10 * MS * (label == slow) for label, time in usual(random, number).items()}


def test_all_that_is_said_of_a_quantile_sums_to_it() -> None:
    answer = blamed(drill(usual))
    assert sum(share.time for share in answer.shares) == answer.latency
    assert sum(share.excess for share in answer.shares) == answer.latency - answer.median
    assert sum(share.tail for share in answer.shares) == answer.tail
    assert answer.median < answer.latency < answer.tail
    assert answer.in_tail == 100


def test_services_that_are_never_slow_together_share_the_blame_that_their_own_percentiles_hide() -> None:
    requests = drill(never_slow_together)
    alone = {
        label: Population.of(request({label: one.shares[label]}) for one in requests).quantile(0.99)
        for label in ("auth", "graph")
    }
    assert alone["auth"] <= 4 * MS
    assert alone["graph"] <= 7 * MS
    answer, without = blamed(requests), blamed(drill(usual))
    assert answer.latency > without.latency + 8 * MS > sum(alone.values())
    assert all(3 * MS < share.excess < 7 * MS for share in answer.shares)


def test_the_tail_is_owed_to_who_is_slow_in_it() -> None:
    answer = blamed(drill(lambda random, number: usual(random, number) | {"redis": 90 * MS * (number % 1000 == 0)}))
    shares_of = by_label(answer)
    assert shares_of["redis"].tail == 9 * MS  # 90 ms in a tenth of the slowest hundredth
    assert shares_of["redis"].time == shares_of["redis"].excess == 0


def traced(random: Random, injected: int = 0) -> Request:
    """Vector search and graph called at once; graph is always done earlier, and as much slower when anything is."""
    search, walk = int(random.uniform(8, 12) * MS), int(random.uniform(2, 6) * MS)
    end = MS + search + injected
    spans = [
        Span(1, None, "gateway", Kind.SERVER, "query", 0, end + MS),
        Span(2, 1, "gateway", Kind.CLIENT, "Search", MS, end),
        Span(3, 2, "vector_search", Kind.SERVER, "Search", 0, end - 2 * MS),
        Span(4, 3, "vector_search", Kind.POSTGRES, "SELECT", MS // 2, end - 3 * MS),
        Span(5, 1, "gateway", Kind.CLIENT, "Traverse", MS, MS + walk + injected),
        Span(6, 5, "graph", Kind.SERVER, "Traverse", 0, walk + injected),
        Span(7, 6, "graph", Kind.NEO4J, "MATCH", 0, walk + injected),
    ]
    path = critical_path(spans)
    return Request(end + MS, 1, shares(path), calls(path))


def test_the_excess_names_the_injected_label_and_gives_the_one_hidden_behind_it_nothing() -> None:
    random = Random(5)
    answer = blamed([traced(random, 50 * MS if number % 50 == 0 else 0) for number in range(10_000)])
    guilty = answer.shares[0]
    assert guilty.label == "vector_search/postgres"
    assert abs(guilty.excess - 50 * MS) < 3 * MS
    assert all(abs(share.excess) < MS for share in answer.shares[1:])
    assert not [share for share in answer.shares if share.label.startswith("graph")]


def test_the_change_between_two_windows_is_owed_to_what_was_injected() -> None:
    before = blamed([traced(Random(number)) for number in range(5_000)])
    after = blamed([traced(Random(number + 5_000), 50 * MS) for number in range(5_000)])
    owed = change(before, after)
    assert sum(owed.values()) == after.latency - before.latency
    assert next(iter(owed)) == "vector_search/postgres"
    assert abs(owed.pop("vector_search/postgres") - 50 * MS) < MS
    assert all(abs(rest) < MS for rest in owed.values())


def test_a_label_that_is_new_or_gone_is_part_of_the_change() -> None:
    before, after = blamed([request({"auth": 5})] * 3_000), blamed([request({"graph": 8})] * 3_000)
    assert change(before, after) == {"graph": 8, "auth": -5}


def test_fewer_than_thirty_in_the_tail_name_nobody() -> None:
    answer = blame(Population.of([request({"auth": n + 1}) for n in range(2_999)]), random=Random(1))
    assert answer == TooFew(requests=2_999, in_tail=29)
    assert str(answer) == "too few: 29 of 30 in the tail"
    assert blamed([request({"auth": n + 1}) for n in range(3_000)]).in_tail == 30
    assert blame(Population.of([]), random=Random(1)) == TooFew(0, 0)


def test_the_tail_is_counted_in_requests_not_in_weight() -> None:
    sampled = [request({"auth": n + 1}, weight=100) for n in range(2_999)]
    assert blame(Population.of(sampled), random=Random(1)) == TooFew(requests=2_999, in_tail=29)


@pytest.mark.parametrize("quantile", [0.0, 1.0, -1.0, 99.0])
def test_what_is_no_quantile_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        blame(Population.of([request({"auth": 1})]), quantile, random=Random(1))


def test_twenty_fast_calls_are_told_from_one_slow_one() -> None:
    many = [Request(20 * MS, 1, {"auth/postgres": 20 * MS}, {"auth/postgres": 20}) for _ in range(3_000)]
    one = [Request(20 * MS, 1, {"auth/postgres": 20 * MS}, {"auth/postgres": 1}) for _ in range(3_000)]
    assert [(share.calls, share.time_per_call) for share in blamed(many).shares] == [(20, MS)]
    assert [(share.calls, share.time_per_call) for share in blamed(one).shares] == [(1, 20 * MS)]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"gateway": 3, "graph/neo4j": 1}, 100),
        ({"gateway": 3, "remote": 1}, 75),
        ({"gateway": 2, "shop/remote": 1, "untraced": 1}, 50),
        ({"untraced": 7}, 0),
        ({}, 100),
    ],
)
def test_coverage_is_what_someone_has_seen(parts: dict[str, int], expected: float) -> None:
    assert coverage(parts) == expected


def test_flags_and_trace_ids_travel_with_the_answer() -> None:
    requests = [Request(n, 1, {"auth": n}, trace_id=f"trace {n}") for n in range(1, 3_001)]
    requests[0] = requests[0]._replace(incomplete=True)
    requests[1] = requests[1]._replace(ambiguous=True, dropped=7)
    answer = blamed(requests)
    assert (answer.incomplete, answer.ambiguous, answer.dropped) == (1, 1, 7)
    assert (answer.typical_trace_id, answer.slowest_trace_id) == ("trace 2970", "trace 3000")
