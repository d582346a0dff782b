"""A 95 % interval holds the truth about 95 times of 100, and is no wider than it must be."""

from collections.abc import Callable
from functools import cache
from random import Random
from statistics import stdev

import pytest

from services.traces.attribution import Blame, Share, blame, split
from services.traces.histograms import Histogram
from services.traces.population import Population, Request

ROUNDS = 50
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
def truth() -> dict[str, int]:
    random = Random(17)
    return split(by_bucket([request(random) for _ in range(100_000)]), TAIL_AT_1000)


@pytest.mark.parametrize("grouped", [by_request, by_bucket])
def test_coverage(grouped: Callable[[list[Request]], Population]) -> None:
    random = Random(23)
    answers = [
        blame(grouped([request(random) for _ in range(1_000)]), TAIL_AT_1000, random=random) for _ in range(ROUNDS)
    ]
    for label, true in truth().items():
        shares = [_share(answer, label) for answer in answers]
        covered = sum(share.low <= true <= share.high for share in shares)
        width = sum(share.high - share.low for share in shares) / ROUNDS
        assert covered >= 0.86 * ROUNDS
        assert 0.7 < width / (3.92 * stdev(share.time for share in shares)) < 1.4


def _share(answer: object, label: str) -> Share:
    assert isinstance(answer, Blame)
    return next(share for share in answer.shares if share.label == label)
