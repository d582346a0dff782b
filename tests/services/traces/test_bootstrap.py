"""A 95 % interval holds the truth about 95 times of 100, and is no wider than it must be."""

from collections.abc import Callable
from functools import cache
from random import Random
from statistics import mean, stdev

import pytest

from services.traces.attribution import MEDIAN, Blame, Share, blame, split
from services.traces.histograms import Histogram
from services.traces.population import Population, Request

ROUNDS = 100
TAIL_AT_1000 = 0.97
"""The quantile that leaves 30 of 1,000 requests in the tail."""


def request(random: Random) -> Request:
    """A skewed, an exponential, a heavy-tailed and a small even part."""
    parts = {
        "gateway": int(random.uniform(2e5, 4e5)),
        "auth": int(random.lognormvariate(15, 0.5)),
        "graph": int(random.expovariate(1 / 3e6)),
        "vector_search": int(random.paretovariate(3) * 1e6),
    }
    return Request(sum(parts.values()), 1, parts)


def by_request(requests: list[Request]) -> Population:
    return Population.of(requests)


def by_bucket(requests: list[Request]) -> Population:
    histogram = Histogram()
    for one in requests:
        histogram.add(one)
    return histogram.population()


@cache
def truth() -> dict[str, tuple[int, int]]:
    """By label, what it owes of the quantile, and what more than of the median."""
    random = Random(17)
    population = by_bucket([request(random) for _ in range(100_000)])
    times, at_median = split(population, TAIL_AT_1000), split(population, MEDIAN)
    return {label: (time, time - at_median[label]) for label, time in times.items()}


def narrow_enough(widths: list[int], values: list[int]) -> bool:
    """Compared with how the values really spread, of which the middle 95 % are 3.92 standard deviations."""
    return 0.7 < mean(widths) / (3.92 * stdev(values)) < 1.4


@pytest.mark.parametrize("grouped", [by_request, by_bucket])
def test_coverage(grouped: Callable[[list[Request]], Population]) -> None:
    random = Random(23)
    answers = [
        blame(grouped([request(random) for _ in range(1_000)]), TAIL_AT_1000, random=random) for _ in range(ROUNDS)
    ]
    for label, (time, excess) in truth().items():
        shares = [_share(answer, label) for answer in answers]
        assert sum(share.low <= time <= share.high for share in shares) >= 0.86 * ROUNDS
        assert sum(share.excess_low <= excess <= share.excess_high for share in shares) >= 0.86 * ROUNDS
        assert narrow_enough([share.high - share.low for share in shares], [share.time for share in shares])
        assert narrow_enough([share.excess_high - share.excess_low for share in shares], [one.excess for one in shares])


def test_at_the_median_there_is_no_excess_and_no_doubt_about_that() -> None:
    random = Random(29)
    answer = blame(by_bucket([request(random) for _ in range(1_000)]), MEDIAN, random=random)
    assert isinstance(answer, Blame)
    assert {(share.excess, share.excess_low, share.excess_high) for share in answer.shares} == {(0, 0, 0)}


def _share(answer: object, label: str) -> Share:
    assert isinstance(answer, Blame)
    return next(share for share in answer.shares if share.label == label)
