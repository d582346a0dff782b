"""Who owes an operation's P99: the exact, additive split of a quantile of latency by label.

Times are integer nanoseconds. The P99 of services do not add up, and are nowhere added or subtracted here: a quantile
is split by what the requests around it were made of, so that its parts sum to it to the nanosecond.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from services.traces.bootstrap import NOTHING, Place, intervals
from services.traces.population import Group, Population

NEEDED = 30
"""Fewer requests than this beyond the quantile name nobody."""
RESAMPLES = 200
WINDOW = 0.01
"""The part of all requests, around a quantile, that it is split by; less where the tail is thinner."""
UNTRACED = "untraced"
REMOTE = "remote"
MEDIAN = 0.5
_FINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Share:
    """What one label owes, in nanoseconds."""

    label: str
    time: int
    """Of the quantile. All labels' sum to it exactly."""
    low: int
    """Lower end of the 95 % interval of `time`."""
    high: int
    excess: int
    """How much more at the quantile than at the median: the blame. All sum to the difference exactly."""
    excess_low: int
    """Lower end of the 95 % interval of `excess`."""
    excess_high: int
    tail: int
    """Of the mean of the requests beyond the quantile. All sum to it exactly."""
    calls: float
    """A request's, around the quantile; 0 where calls were not counted."""

    @property
    def time_per_call(self) -> float:
        """Nanoseconds; times `calls` it is `time`, so that twenty fast calls are not mistaken for one slow one."""
        return self.time / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class TooFew:
    """The refusal to name anyone: the slowest part of the requests is too small to tell."""

    requests: int
    in_tail: int
    needed: int = NEEDED

    def __str__(self) -> str:
        return f"too few: {self.in_tail} of {self.needed} in the tail"


@dataclass(frozen=True, slots=True)
class Blame:
    """A quantile of latency, its median and tail in nanoseconds, and what each label owes, largest excess first."""

    quantile: float
    latency: int
    median: int
    tail: int
    requests: int
    in_tail: int
    shares: tuple[Share, ...]
    typical_trace_id: str
    """The slowest trace that is about as slow as the quantile; empty where none of those was kept."""
    slowest_trace_id: str
    incomplete: int
    """Requests, by weight, whose trace lacked parents."""
    ambiguous: int
    """Requests, by weight, where a tie between siblings had to be broken."""
    dropped: int
    """Spans that did not fit into the blobs."""


def blame(
    population: Population, quantile: float = 0.99, *, random: Random, resamples: int = RESAMPLES
) -> Blame | TooFew:
    """Split a quantile by label. Raises ValueError for one that is not between 0 and 1."""
    if not population.groups:
        return TooFew(0, 0)
    rank = population.rank(quantile)
    tail = list(population.between(rank, population.weight))
    in_tail = sum(group.count * weight // group.weight for group, weight in tail)
    if in_tail < NEEDED:
        return TooFew(population.count, in_tail)
    return Blame(
        quantile=quantile,
        latency=population.quantile(quantile),
        median=population.quantile(MEDIAN),
        tail=_mean(tail),
        requests=population.count,
        in_tail=in_tail,
        shares=_shares(population, quantile, tail, random, resamples),
        typical_trace_id=population.at(rank).exemplar[1],
        slowest_trace_id=population.slowest_trace_id,
        incomplete=sum(group.incomplete for group in population.groups),
        ambiguous=sum(group.ambiguous for group in population.groups),
        dropped=sum(group.dropped for group in population.groups),
    )


def change(before: Blame, after: Blame) -> dict[str, int]:
    """What the change of the quantile between two windows is owed to, in nanoseconds: the parts sum to it exactly."""
    return moved(*({share.label: share.time for share in side.shares} for side in (before, after)))


def moved(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """By how much each label's time has changed, the largest change first."""
    times = defaultdict(int, after)
    for label, time in before.items():
        times[label] -= time
    return dict(sorted(times.items(), key=lambda item: (-abs(item[1]), item[0])))


def split(population: Population, quantile: float) -> dict[str, int]:
    """The quantile's nanoseconds by label: in the proportions of the requests around it, and with its exact sum."""
    return apportion(population.quantile(quantile), _amounts(_around(population, quantile)))


def coverage(parts: Mapping[str, int]) -> float:
    """How much of this time, in percent, is owed by someone who recorded spans; 100 of no time at all."""
    total = sum(parts.values())
    unseen = sum(time for label, time in parts.items() if label.rpartition("/")[2] in (REMOTE, UNTRACED))
    return 100 * (total - unseen) / total if total else 100.0


def apportion(whole: int, amounts: Mapping[str, int]) -> dict[str, int]:
    """Integers in the proportion of the amounts that sum to the whole (Hamilton's method of largest remainders)."""
    total = sum(amounts.values())
    if not total:
        return {UNTRACED: whole} if whole else {}
    parts = {label: whole * amount // total for label, amount in amounts.items()}
    by_remainder = sorted(amounts, key=lambda label: (-(whole * amounts[label] % total), label))
    for label in by_remainder[: whole - sum(parts.values())]:
        parts[label] += 1
    return parts


_Slice = list[tuple[Group, int]]  # groups, and how much of the weight of each


def _shares(population: Population, quantile: float, tail: _Slice, random: Random, resamples: int) -> tuple[Share, ...]:
    times, at_median = split(population, quantile), split(population, MEDIAN)
    beyond = apportion(_mean(tail), _amounts(tail))
    sure = intervals(population, _place(population, quantile), _place(population, MEDIAN), random, resamples)
    calls = _calls(_around(population, quantile))
    shares = [
        Share(
            label=label,
            time=times.get(label, 0),
            low=sure.get(label, NOTHING).low,
            high=sure.get(label, NOTHING).high,
            excess=times.get(label, 0) - at_median.get(label, 0),
            excess_low=sure.get(label, NOTHING).excess_low,
            excess_high=sure.get(label, NOTHING).excess_high,
            tail=beyond.get(label, 0),
            calls=calls.get(label, 0.0),
        )
        for label in {*times, *at_median, *beyond}
    ]
    return tuple(sorted(shares, key=lambda share: (-share.excess, -share.time, share.label)))


def _place(population: Population, quantile: float) -> Place:
    return Place(quantile, _half_window(quantile, population.count))


def _around(population: Population, quantile: float) -> _Slice:
    """The requests that a quantile is split by: those of the ranks next to its own, as many below as above."""
    rank, weight = population.rank(quantile), population.weight
    half = max(1, round(_half_window(quantile, population.count) * weight))
    return list(population.between(max(0, rank - half), min(weight, rank + half)))


def _half_window(quantile: float, count: int) -> float:
    return max(min(WINDOW, 1 - quantile), NEEDED / count) / 2


def _amounts(groups: _Slice) -> dict[str, int]:
    """Time by label in these parts of groups, in millionths of a nanosecond so that parts of groups stay integers."""
    amounts: dict[str, int] = defaultdict(int)
    for group, weight in groups:
        for label, part in group.parts.items():
            amounts[label] += part.time * weight * _FINE // group.weight
    return amounts


def _calls(groups: _Slice) -> dict[str, float]:
    total = sum(weight for _, weight in groups)
    calls: dict[str, float] = defaultdict(float)
    for group, weight in groups:
        for label, part in group.parts.items():
            calls[label] += part.calls * weight / (group.weight * total)
    return calls


def _mean(groups: _Slice) -> int:
    latency = sum(group.latency * weight * _FINE // group.weight for group, weight in groups)
    total = _FINE * sum(weight for _, weight in groups)
    return (2 * latency + total) // (2 * total)
