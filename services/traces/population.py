"""Requests grouped by latency: what quantiles are taken of, and what their parts are summed from.

Times are integer nanoseconds and weights are whole requests, so that sums are exact whatever the order of adding.
"""

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from types import MappingProxyType
from typing import NamedTuple

NO_CALLS: Mapping[str, int] = MappingProxyType({})
FULL = 100_000
"""A whole request in the unit of fractions: fine enough for their variance, and 64 bits hold 900 million squares."""


class Request(NamedTuple):
    """One request, or the one recorded of `weight` (at least 1) requests. Its shares by label sum to its latency."""

    latency: int
    weight: int
    shares: Mapping[str, int]
    calls: Mapping[str, int] = NO_CALLS
    trace_id: str = ""
    incomplete: bool = False
    ambiguous: bool = False
    dropped: int = 0


@dataclass(slots=True)
class Part:
    """What one label had in a group: weighted sums of its time, its calls, and its squared fractions of a request."""

    time: int = 0
    calls: int = 0
    squares: int = 0

    def merge(self, other: "Part") -> None:
        """Add the other's sums to these."""
        self.time += other.time
        self.calls += other.calls
        self.squares += other.squares

    def variance(self, latency: int, weight: int) -> float:
        """Of this label's fraction of a request, in a group of that summed latency and weight."""
        mean = self.time / latency if latency else 0.0
        return max(0.0, self.squares / (weight * FULL * FULL) - mean * mean)


@dataclass(slots=True)
class Group:
    """Requests of equal or nearly equal latency. `latency` and the parts are sums over them, weighted."""

    count: int = 0
    weight: int = 0
    latency: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    fastest: int = sys.maxsize
    slowest: int = 0
    exemplar: tuple[int, str] = (0, "")
    """The slowest request with a trace id, and that id."""
    incomplete: int = 0
    ambiguous: int = 0
    dropped: int = 0

    @property
    def mean(self) -> int:
        """Of its latencies."""
        return self.latency // self.weight

    @property
    def largest(self) -> int:
        """The largest of its numbers."""
        sums = (number for part in self.parts.values() for number in (part.time, part.calls, part.squares))
        flags = self.incomplete, self.ambiguous, self.dropped
        return max(self.count, self.weight, self.latency, self.slowest, self.fastest, self.exemplar[0], *flags, *sums)

    def latency_at(self, part: float) -> int:
        """As if its latencies lay evenly between its fastest (0) and its slowest (1); exact where all are equal."""
        return self.fastest + round((self.slowest - self.fastest) * part)

    def add(self, request: Request) -> bool:
        """Count one more request. True when some label is new here. A gateway does this for every request."""
        latency, weight, shares, calls, trace_id, incomplete, ambiguous, dropped = request
        self.count += 1
        self.weight += weight
        self.latency += latency * weight
        if latency < self.fastest:
            self.fastest = latency
        if latency > self.slowest:
            self.slowest = latency
        if trace_id and (latency, trace_id) > self.exemplar:
            self.exemplar = (latency, trace_id)
        if incomplete or ambiguous or dropped:
            self.incomplete += weight * incomplete
            self.ambiguous += weight * ambiguous
            self.dropped += dropped
        scale, half, known = latency or 1, latency // 2, True
        part_of, calls_of = self.parts.get, calls.get
        for label, time in shares.items():
            part = part_of(label)
            if part is None:
                part, known = self.parts.setdefault(label, Part()), False
            fraction = (time * FULL + half) // scale
            part.time += time * weight
            part.calls += calls_of(label, 0) * weight
            part.squares += fraction * fraction * weight
        return not known

    def merge(self, other: "Group") -> None:
        """Add the other's sums to these."""
        self.count += other.count
        self.weight += other.weight
        self.latency += other.latency
        self.fastest = min(self.fastest, other.fastest)
        self.slowest = max(self.slowest, other.slowest)
        self.exemplar = max(self.exemplar, other.exemplar)
        self.incomplete += other.incomplete
        self.ambiguous += other.ambiguous
        self.dropped += other.dropped
        for label, part in other.parts.items():
            self.parts.setdefault(label, Part()).merge(part)

    def fold(self, label: str, into: str) -> None:
        """Let one label's part be counted under another."""
        if part := self.parts.pop(label, None):
            self.parts.setdefault(into, Part()).merge(part)


class Population:
    """Groups in the order of their latencies. A rank is a number of requests, by weight, counted from the fastest."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self.groups = sorted(groups, key=lambda group: group.mean)
        self.ends = list(accumulate(group.weight for group in self.groups))
        self.count = sum(group.count for group in self.groups)
        self.weight = self.ends[-1] if self.ends else 0

    @classmethod
    def of(cls, requests: Iterable[Request]) -> "Population":
        """One group for each latency: nothing is rounded, and the order of requests means nothing."""
        groups: dict[int, Group] = {}
        for request in requests:
            groups.setdefault(request.latency, Group()).add(request)
        return cls(groups.values())

    @property
    def slowest_trace_id(self) -> str:
        """The trace of the slowest request that has one."""
        return max((group.exemplar for group in self.groups), default=(0, ""))[1]

    def rank(self, quantile: float) -> int:
        """The first rank with at least that part of the weight up to it. Raises ValueError where there is none."""
        exact = Fraction(quantile).limit_denominator(1_000_000)
        if not self.weight or not 0 < exact < 1:
            raise ValueError(f"no quantile {quantile} of {self.count} requests")
        return -(-exact.numerator * self.weight // exact.denominator)

    def at(self, rank: int) -> Group:
        """The group that holds a rank, which counts from 1."""
        return self.groups[bisect_left(self.ends, rank)]

    def quantile(self, quantile: float) -> int:
        """The smallest latency with at least that part of the weight at or below it."""
        rank = self.rank(quantile)
        group, end = self.at(rank), self.ends[bisect_left(self.ends, rank)]
        return group.latency_at(1 - (end - rank) / max(1, group.weight - 1))

    def error(self, quantile: float) -> float:
        """By how much `quantile` may be off, in percent of the true value, which is of the same group."""
        group = self.at(self.rank(quantile))
        return min(100.0, 100 * (group.slowest - group.fastest) / max(1, group.fastest))

    def between(self, low: int, high: int) -> Iterator[tuple[Group, int]]:
        """The groups with ranks above `low` and up to `high`, each with how much of its weight lies there."""
        for at in range(bisect_left(self.ends, low + 1), len(self.groups)):
            group, end = self.groups[at], self.ends[at]
            if end - group.weight >= high:
                return
            yield group, min(end, high) - max(end - group.weight, low)
