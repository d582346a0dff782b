"""How sure a split of a quantile is: 95 % intervals by the Bayesian bootstrap (Rubin 1981).

Each group's weight is drawn anew from a gamma distribution whose shape is the group's count: what the weights of its
requests would sum to if each were drawn by itself. So a bucket of a million costs what a bucket of one costs.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from random import Random

from services.traces.population import Group, Population

_DEVIATIONS = 5
"""How many standard deviations of its rank a quantile is expected to move at most."""


def intervals(
    population: Population, quantile: float, half: float, random: Random, resamples: int
) -> dict[str, tuple[int, int]]:
    """By label, where its nanoseconds of the quantile lie, which is split by `half` of the weight on either side."""
    groups = _in_reach(population, quantile, half)
    draws = [_resample(groups, quantile, half, random) for _ in range(resamples)]
    labels = {label for draw in draws for label in draw}
    return {label: _middle([draw.get(label, 0.0) for draw in draws]) for label in labels}


def _in_reach(population: Population, quantile: float, half: float) -> list[Group]:
    """The groups that the quantile may come to be split by, between one group for all below and one for all above."""
    reach = half + _DEVIATIONS * sqrt(quantile * (1 - quantile) / population.count)
    low, high = round(max(0.0, quantile - reach) * population.weight), round((quantile + reach) * population.weight)
    near = [group for group, _ in population.between(low, high)]
    first = bisect_left(population.ends, low + 1)
    return [_sum(population.groups[:first]), *near, _sum(population.groups[first + len(near) :])]


def _sum(groups: Sequence[Group]) -> Group:
    return Group(sum(group.count for group in groups), sum(group.weight for group in groups))


def _resample(groups: Sequence[Group], quantile: float, half: float, random: Random) -> dict[str, float]:
    """The split as it might have been, had other requests of the same population been seen."""
    weights = [_weight(group, random) for group in groups]
    total = sum(weights)
    low, middle, high = (quantile - half) * total, quantile * total, (quantile + half) * total
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
