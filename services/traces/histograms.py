"""Every request of an operation in bounded memory: mergeable buckets of latency that can still be blamed.

Each bucket keeps sums of integers, so that histograms merge to exactly what one histogram of everything would be.

Error: a bucket spans 2^(1/24) = 1.0293, and a quantile is given as a value between the fastest and the slowest of the
bucket that the true value is in. So it is off by less than 2.93 %, whatever the distribution, from 1 us to 71 minutes;
faster and slower requests share the end buckets. The parts by label still sum to the quantile exactly.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from math import ceil
from random import Random
from typing import Annotated, Any, TypeAlias

import msgspec

from services.traces.attribution import Blame, TooFew, blame
from services.traces.population import Group, Part, Population, Request

PER_DOUBLING = 24
FLOOR = 1_000
"""Nanoseconds below which latencies are not told apart."""
LAST = 32 * PER_DOUBLING
MAX_LABELS = 64
OTHER = "other"
VERSION = 1

_Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
_Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=LAST)]
_WirePart: TypeAlias = tuple[_Natural, _Natural, _Natural, _Natural]
_WireBucket: TypeAlias = tuple[
    _Place,
    _Positive,
    _Positive,
    _Natural,
    _Natural,
    _Natural,
    _Natural,
    str,
    _Natural,
    _Natural,
    _Natural,
    list[_WirePart],
]
_Wire: TypeAlias = tuple[int, list[str], list[_WireBucket]]


_BOUNDS = [ceil(FLOOR * 2 ** (place / PER_DOUBLING)) for place in range(1, LAST + 1)]
"""Where each place but the first begins: a search among these is quicker than a logarithm, and exact."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Wire).decode


def bucket_of(latency: int) -> int:
    """The place of a latency in nanoseconds on the fixed logarithmic scale."""
    return bisect_right(_BOUNDS, latency)


@dataclass(slots=True)
class Histogram:
    """The latencies of one operation in one window of time, and what they were made of."""

    buckets: dict[int, Group] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)

    def add(self, request: Request) -> None:
        """Count one more request."""
        place = bisect_right(_BOUNDS, request.latency)
        group = self.buckets.get(place)
        if group is None:
            group = self.buckets[place] = Group()
        if group.add(request):
            self._admit(set(request.shares))

    def merge(self, other: "Histogram") -> None:
        """Add another histogram's requests to these."""
        for index, group in other.buckets.items():
            self._bucket(index).merge(group)
        self._admit(other.labels)

    def population(self) -> Population:
        """The buckets in order, for `attribution`."""
        return Population(self.buckets.values())

    @property
    def largest(self) -> int:
        """The largest of all its numbers."""
        return max((group.largest for group in self.buckets.values()), default=0)

    def quantile(self, quantile: float) -> int:
        """In nanoseconds, within 3 %. Raises ValueError when there are no requests."""
        return self.population().quantile(quantile)

    def blame(self, quantile: float = 0.99, *, random: Random) -> Blame | TooFew:
        """The same answer as `attribution.blame` gives for the requests themselves, within 3 %."""
        return blame(self.population(), quantile, random=random)

    def to_wire(self) -> list[Any]:
        """`[version, labels, [[bucket, count, weight, latency, fastest, slowest, slowest with a trace, its trace,
        incomplete, ambiguous, dropped, [[label's place, time, calls, squares]]]]]`: plain lists, in one order, of
        64-bit integers and strings.
        """
        labels = sorted({label for group in self.buckets.values() for label in group.parts})
        places = {label: place for place, label in enumerate(labels)}
        return [VERSION, labels, [_bucket_out(index, self.buckets[index], places) for index in sorted(self.buckets)]]

    @classmethod
    def from_wire(cls, wire: object) -> "Histogram":
        """What `to_wire` gave. Raises ValueError for anything else."""
        try:
            return cls._of(msgspec.convert(wire, _Wire))
        except msgspec.ValidationError as error:
            raise ValueError(f"not a histogram: {error}") from error

    def pack(self) -> bytes:
        """msgpack of the wire."""
        return _encode(self.to_wire())

    @classmethod
    def unpack(cls, data: bytes) -> "Histogram":
        """What `pack` gave. Raises ValueError for anything else."""
        try:
            return cls._of(_decode(data))
        except msgspec.DecodeError as error:
            raise ValueError(f"not a histogram: {error}") from error

    @classmethod
    def _of(cls, wire: _Wire) -> "Histogram":
        version, labels, buckets = wire
        if version != VERSION:
            raise ValueError(f"a histogram of the unknown version {version}")
        try:
            groups = {bucket[0]: _bucket_in(bucket, labels) for bucket in buckets}
        except IndexError as error:
            raise ValueError(f"not a histogram: {error}") from error
        histogram = cls(groups)
        histogram._admit(set(labels))
        return histogram

    def _bucket(self, index: int) -> Group:
        group = self.buckets.get(index)
        if group is None:
            group = self.buckets[index] = Group()
        return group

    def _admit(self, labels: set[str]) -> None:
        """Know these labels too. Of too many the first by name stay: a choice that no order of merging can change."""
        self.labels |= labels - {OTHER}
        for label in sorted(self.labels)[MAX_LABELS:]:
            self.labels.remove(label)
            for group in self.buckets.values():
                group.fold(label, OTHER)


def _bucket_out(index: int, group: Group, places: dict[str, int]) -> list[Any]:
    parts = [[places[label], part.time, part.calls, part.squares] for label, part in sorted(group.parts.items())]
    flags = [group.incomplete, group.ambiguous, group.dropped]
    return [
        index,
        group.count,
        group.weight,
        group.latency,
        group.fastest,
        group.slowest,
        *group.exemplar,
        *flags,
        parts,
    ]


def _bucket_in(bucket: _WireBucket, labels: list[str]) -> Group:
    _, count, weight, latency, fastest, slowest, traced, trace_id, incomplete, ambiguous, dropped, parts = bucket
    by_label = {labels[place]: Part(time, calls, squares) for place, time, calls, squares in parts}
    if parts and sum(part.time for part in by_label.values()) != latency:
        raise ValueError("not a histogram: the parts of a bucket do not sum to its latency")
    return Group(count, weight, latency, by_label, fastest, slowest, (traced, trace_id), incomplete, ambiguous, dropped)
