"""Latencies by operation and window of time: what gateways report, added up, and blamed on demand."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random

import msgspec

from services.runtime.errors import InvalidFields, OperationNotFound
from services.traces.attribution import Blame, TooFew
from services.traces.histograms import Histogram

WINDOW_SECONDS = 10
MAX_SOURCES = 10_000
MAX_OPERATIONS = 1_000
OTHER_OPERATIONS = "other operations"
PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one operation did in one window, which starts at `start` seconds since 1970."""

    operation: str
    start: int
    histogram: bytes


@dataclass(frozen=True, slots=True)
class Figures:
    """One operation's percentiles in nanoseconds, each within 3 %."""

    operation: str
    requests: int
    p50: int
    p95: int
    p99: int


@dataclass(frozen=True, slots=True)
class Judged:
    """The requests of an operation in a window, and who owes the percentile of their latency."""

    operation: str
    requests: int
    latency: int
    median: int
    slowest_trace_id: str
    blame: Blame | TooFew


class Latencies:
    """Bounded in operations, in windows, and in what it remembers of its sources."""

    def __init__(self, hours: float, random: Random, clock: Callable[[], float] = time.time) -> None:
        self._kept_seconds = hours * 3_600
        self._random = random
        self._clock = clock
        self._windows: OrderedDict[int, dict[str, Histogram]] = OrderedDict()
        self._sequences: OrderedDict[str, int] = OrderedDict()

    def report(self, source: str, sequence: int, reports: Iterable[Report]) -> None:
        """Add what a source saw since its last report; a sequence number that was seen adds nothing.

        Raises InvalidFields, and then nothing was added.
        """
        if not source or sequence <= 0:
            raise InvalidFields(source="must not be empty", sequence="must be positive")
        if sequence <= self._sequences.get(source, 0):
            return
        decoded = [(report, _decode(report.histogram)) for report in reports]
        self._remember(source, sequence)
        for report, histogram in decoded:
            self._add(report.operation, report.start - report.start % WINDOW_SECONDS, histogram)
        self._forget()

    def _remember(self, source: str, sequence: int) -> None:
        self._sequences[source] = sequence
        self._sequences.move_to_end(source)
        if len(self._sequences) > MAX_SOURCES:
            self._sequences.popitem(last=False)

    def _add(self, operation: str, start: int, histogram: Histogram) -> None:
        window = self._windows.setdefault(start, {})
        name = operation if operation in window or len(window) < MAX_OPERATIONS else OTHER_OPERATIONS
        window.setdefault(name, Histogram()).merge(histogram)

    def _forget(self) -> None:
        oldest = self._clock() - self._kept_seconds
        for start in [start for start in self._windows if start + WINDOW_SECONDS < oldest]:
            del self._windows[start]

    def operations(self, seconds: float) -> list[Figures]:
        """The operations seen in the last seconds, the most frequent first."""
        merged: dict[str, Histogram] = {}
        for operation, histogram in self._since(seconds):
            merged.setdefault(operation, Histogram()).merge(histogram)
        figures = [_figures(operation, histogram) for operation, histogram in merged.items()]
        return sorted(figures, key=lambda one: (-one.requests, one.operation))

    def blame(self, operation: str, percentile: float, seconds: float) -> Judged:
        """Split a percentile of an operation, or of all where it is empty. Raises OperationNotFound, InvalidFields."""
        if not 50.0 <= percentile < PERCENT:
            raise InvalidFields(percentile="must be at least 50 and less than 100")
        merged = Histogram()
        for name, histogram in self._since(seconds):
            if operation in ("", name):
                merged.merge(histogram)
        population = merged.population()
        if not population.groups:
            raise OperationNotFound(operation or "at all")
        quantile = percentile / PERCENT
        return Judged(
            operation=operation,
            requests=population.count,
            latency=population.quantile(quantile),
            median=population.quantile(0.5),
            slowest_trace_id=population.slowest_trace_id,
            blame=merged.blame(quantile, random=self._random),
        )

    def _since(self, seconds: float) -> Iterator[tuple[str, Histogram]]:
        oldest = self._clock() - seconds
        for start, window in self._windows.items():
            if start + WINDOW_SECONDS > oldest:
                yield from window.items()


def _figures(operation: str, histogram: Histogram) -> Figures:
    population = histogram.population()
    p50, p95, p99 = (population.quantile(quantile) for quantile in (0.5, 0.95, 0.99))
    return Figures(operation, population.count, p50, p95, p99)


def _decode(data: bytes) -> Histogram:
    try:
        return Histogram.from_wire(msgspec.msgpack.decode(data))
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidFields(histogram=str(error)) from error
