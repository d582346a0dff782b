"""How sure a split of a quantile is: 95 % intervals by the Bayesian bootstrap (Rubin 1981).

Each group's weight is drawn anew from a gamma distribution whose shape is the group's count: what the weights of its
requests would sum to if each were drawn by itself. So a bucket of a million costs what a bucket of one costs.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from math import sqrt
from random import Random
from typing import NamedTuple, TypeAlias

from services.traces.population import Group, Population

_DEVIATIONS = 5
"""How many standard deviations of its rank a quantile is expected to move at most."""


class Place(NamedTuple):
    """A quantile, and the part of the weight on either side of it that it is split by."""

    quantile: float
    half: float


class Interval(NamedTuple):
    """Where a label's nanoseconds of the quantile lie, and those that it has more of than at the median."""

    low: int
    high: int
    excess_low: int
    excess_high: int


NOTHING = Interval(0, 0, 0, 0)
_Draw: TypeAlias = dict[str, float]


def intervals(
    population: Population, place: Place, median: Place, random: Random, resamples: int
) -> dict[str, Interval]:
    """By label. The excess is taken of quantile and median of the same draw: what moves both moves it little."""
    groups = _in_reach(population, (place, median))
    draws = [_resample(groups, place, median, random) for _ in range(resamples)]
    labels = {label for at_place, at_median in draws for label in (*at_place, *at_median)}
    return {label: _interval(label, draws) for label in labels}


def _interval(label: str, draws: Sequence[tuple[_Draw, _Draw]]) -> Interval:
    times = [at_place.get(label, 0.0) for at_place, _ in draws]
    excesses = [time - at_median.get(label, 0.0) for time, (_, at_median) in zip(times, draws, strict=True)]
    return Interval(*_middle(times), *_middle(excesses))


def _in_reach(population: Population, places: Iterable[Place]) -> list[Group]:
    """The groups that the quantiles may come to be split by, and one group for all between two of these."""
    near = {index for place in places for index in _near(population, place)}
    groups: list[Group] = []
    for kept, run in groupby(enumerate(population.groups), key=lambda item: item[0] in near):
        members = [group for _, group in run]
        groups += members if kept else [_sum(members)]
    return groups


def _near(population: Population, place: Place) -> range:
    quantile, half = place
    reach = half + _DEVIATIONS * sqrt(quantile * (1 - quantile) / population.count)
    low, high = round(max(0.0, quantile - reach) * population.weight), round((quantile + reach) * population.weight)
    first, last = bisect_left(population.ends, low + 1), bisect_left(population.ends, high)
    return range(first, min(last + 1, len(population.groups)))


def _sum(groups: Sequence[Group]) -> Group:
    return Group(sum(group.count for group in groups), sum(group.weight for group in groups))


def _resample(groups: Sequence[Group], place: Place, median: Place, random: Random) -> tuple[_Draw, _Draw]:
    """The splits as they might have been, had other requests of the same population been seen."""
    weights = [_weight(group, random) for group in groups]
    at_place = _split(groups, weights, place, random)
    return at_place, at_place if place == median else _split(groups, weights, median, random)


def _split(groups: Sequence[Group], weights: Sequence[float], place: Place, random: Random) -> _Draw:
    total = sum(weights)
    low, middle, high = (part * total for part in (place.quantile - place.half, place.quantile, sum(place)))
    amounts: dict[str, float] = defaultdict(float)
    variances: dict[str, float] = defaultdict(float)
    latency, end = 0, 0.0
    for group, weight in zip(groups, weights, strict=True):
        start, end = end, end + weight
        if start < middle and group.parts:
            latency = group.latency_at(min(1.0, (middle - start) / weight))
        inside = min(end, high) - max(start, low)
        if inside > 0:
            _add(amounts, variances, group, weight, inside)
    return _scaled(latency, amounts, variances, random)


def _weight(group: Group, random: Random) -> float:
    return group.weight * random.gammavariate(group.count, 1) / group.count if group.count else 0.0


def _add(amounts: dict[str, float], variances: dict[str, float], group: Group, weight: float, inside: float) -> None:
    """Add the part of a group that is inside, and how uncertain it is: its requests differ in what they are made of."""
    for label, part in group.parts.items():
        amounts[label] += inside * part.time / group.weight
        if group.count > 1:
            variance = group.mean * group.mean * part.variance(group.latency, group.weight)
            variances[label] += inside * weight * variance / group.count


def _scaled(latency: int, amounts: dict[str, float], variances: dict[str, float], random: Random) -> dict[str, float]:
    total = sum(amounts.values()) or 1.0
    return {
        label: latency * max(0.0, amount + random.gauss(0, 1) * sqrt(variances[label])) / total
        for label, amount in amounts.items()
    }


def _middle(draws: list[float]) -> tuple[int, int]:
    """The range that holds the middle 95 % of the draws."""
    ordered = sorted(draws)
    cut = round(len(ordered) * 0.025)
    return round(ordered[cut]), round(ordered[-1 - cut])
