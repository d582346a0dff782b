"""Latencies by operation and window of time: what gateways report, added up, and blamed on demand."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random

from services.runtime.errors import InvalidFields, OperationNotFound
from services.traces import metrics
from services.traces.attribution import MEDIAN, Blame, TooFew, blame, coverage, split
from services.traces.histograms import Histogram
from services.traces.population import Population
from services.traces.windows import WINDOW_SECONDS, Key, Windows

MAX_SOURCES = 10_000
MAX_STEPS = 360
SETTLING_SECONDS = 60.0
PERCENT = 100.0
LONGEST_NAME = 1_000
"""Characters of an operation or a source: names are not counted among the bytes held."""
HIGHEST = 0.999_999
LARGEST = 2**53
"""Of the numbers in a report: 100 days in one bucket of ten seconds. A thousand such sums still fit into 64 bits."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one operation did in one window, which starts at `start` seconds since 1970."""

    operation: str
    start: int
    histogram: bytes


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time, in seconds since 1970."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Percentiles in nanoseconds, each within 3 %, and one of them and the median by label, the largest first."""

    requests: int
    p50: int
    p95: int
    p99: int
    shares: Mapping[str, int]
    median_shares: Mapping[str, int]


NOTHING = Figures(0, 0, 0, 0, {}, {})


@dataclass(frozen=True, slots=True)
class Judged:
    """The requests of an operation in a window, and who owes the percentile of their latency."""

    operation: str
    requests: int
    latency: int
    median: int
    slowest_trace_id: str
    coverage: float
    error: float
    blame: Blame | TooFew


class Latencies:
    """Bounded in operations, in windows, in bytes, and in what it remembers of its sources."""

    def __init__(self, hours: float, max_bytes: int, random: Random, clock: Callable[[], float] = time.time) -> None:
        self._kept_seconds = hours * 3_600
        self._random = random
        self._clock = clock
        self._windows = Windows(max_bytes)
        self._sequences: OrderedDict[str, int] = OrderedDict()
        self._changed: set[str] = set()

    def report(self, source: str, sequence: int, reports: Iterable[Report]) -> bool:
        """Add what a source saw since its last report; a sequence number that was seen adds nothing, and is False.

        Raises InvalidFields, and then nothing was added.
        """
        if not 0 < len(source) <= LONGEST_NAME or sequence <= 0:
            raise InvalidFields(source=f"must have 1 to {LONGEST_NAME:,} characters", sequence="must be positive")
        if sequence <= self._sequences.get(source, 0):
            metrics.reports_repeated.inc()
            return False
        decoded = [(report, _decode(report)) for report in reports]
        self._remember(source, sequence)
        now = int(self._clock())  # no request has ended in the future: a source whose clock is ahead is put right
        for report, histogram in decoded:
            self._add(report.operation, min(report.start, now), histogram)
        self.forget()
        metrics.reports_received.inc()
        return True

    def _remember(self, source: str, sequence: int) -> None:
        self._sequences[source] = sequence
        self._sequences.move_to_end(source)
        self._changed.add(source)
        if len(self._sequences) > MAX_SOURCES:
            self._changed.add(self._sequences.popitem(last=False)[0])

    def _add(self, operation: str, start: int, histogram: Histogram) -> None:
        if start + WINDOW_SECONDS < self._clock() - self._kept_seconds:
            metrics.windows_too_old.inc()
        else:
            self._windows.add(start, operation, histogram)

    def forget(self) -> None:
        """Drop what is too old, and the oldest while there is too much."""
        self._windows.forget(self._clock() - self._kept_seconds)

    async def settling(self) -> None:
        """Merge what is over in the background, for ever: a day of busy operations takes seconds."""
        while True:
            for block in self._windows.blocks(self._clock()):
                await asyncio.to_thread(self._windows.settle, block)
            await asyncio.sleep(SETTLING_SECONDS)

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._windows.size

    def changes(self) -> tuple[dict[Key, bytes | None], dict[str, int | None]]:
        """What has changed since it was last asked: packed windows, and sources with their sequence numbers."""
        windows, self._windows.changed = self._windows.changed, set()
        sources, self._changed = self._changed, set()
        return {key: self._windows.get(key) for key in windows}, {key: self._sequences.get(key) for key in sources}

    def put_back(self, windows: Iterable[Key], sources: Iterable[str]) -> None:
        """Count these as changed again: they could not be written."""
        self._windows.changed.update(windows)
        self._changed.update(sources)

    def restore(self, sources: Iterable[tuple[str, int]], windows: Iterable[tuple[int, str, bytes]]) -> int:
        """Take up what was written. Returns how many rows could not be read."""
        self._sequences.update(sources)
        unreadable = sum(not self._windows.restore((start, operation), packed) for start, operation, packed in windows)
        self.forget()
        return unreadable

    def stretch(self, seconds: float, end: float | None = None) -> Stretch:
        """So many seconds up to an end, or to now; not further back than anything is kept."""
        high = self._clock() if end is None else end
        return Stretch(high - min(seconds, self._kept_seconds), high)

    def operations(self, stretch: Stretch) -> list[tuple[str, Figures]]:
        """The operations seen, the most frequent first."""
        names = self._windows.operations(stretch.low, stretch.high)
        figures = [(name, self._figures(name, stretch, 0.99)) for name in names]
        return sorted(figures, key=lambda one: (-one[1].requests, one[0]))

    def timeline(
        self, operation: str, percentile: float, stretch: Stretch, steps: int
    ) -> list[tuple[Stretch, Figures]]:
        """What an operation did in each of at most so many equal steps, oldest first. Raises InvalidFields."""
        quantile = _quantile(percentile)
        return [(step, self._figures(operation, step, quantile)) for step in _steps(stretch, steps)]

    def _figures(self, operation: str, stretch: Stretch, quantile: float) -> Figures:
        population = self._population(operation, stretch)
        if not population.groups:
            return NOTHING
        p50, p95, p99 = (population.quantile(quantile) for quantile in (0.5, 0.95, 0.99))
        shares, median_shares = (_largest_first(split(population, at)) for at in (quantile, MEDIAN))
        return Figures(population.count, p50, p95, p99, shares, median_shares)

    def _population(self, operation: str, stretch: Stretch) -> Population:
        return self._windows.merged(operation, stretch.low, stretch.high).population()

    def blame(self, operation: str, percentile: float, stretch: Stretch) -> Judged:
        """Split a percentile of an operation, or of all where it is empty. Raises OperationNotFound, InvalidFields."""
        quantile = _quantile(percentile)
        population = self._population(operation, stretch)
        if not population.groups:
            raise OperationNotFound(operation or "at all")
        return Judged(
            operation=operation,
            requests=population.count,
            latency=population.quantile(quantile),
            median=population.quantile(MEDIAN),
            slowest_trace_id=population.slowest_trace_id,
            coverage=coverage(split(population, quantile)),
            error=max(population.error(quantile), population.error(MEDIAN)),
            blame=blame(population, quantile, random=self._random),
        )


def _steps(stretch: Stretch, steps: int) -> list[Stretch]:
    """Of whole windows, the last of which holds the stretch's end."""
    high = -(-stretch.high // WINDOW_SECONDS) * WINDOW_SECONDS
    wanted = max(1.0, stretch.high - stretch.low)
    step = -(-wanted // (steps * WINDOW_SECONDS)) * WINDOW_SECONDS
    count = int(-(-wanted // step))
    return [Stretch(high - step * left, high - step * (left - 1)) for left in range(count, 0, -1)]


def _quantile(percentile: float) -> float:
    """Ranks are told apart to a millionth; what is nearer to 100 than that is as near as can be."""
    if not 50.0 <= percentile < PERCENT:
        raise InvalidFields(percentile="must be at least 50 and less than 100")
    return min(percentile / PERCENT, HIGHEST)


def _largest_first(parts: Mapping[str, int]) -> Mapping[str, int]:
    return dict(sorted(((label, time) for label, time in parts.items() if time), key=lambda part: (-part[1], part[0])))


def _decode(report: Report) -> Histogram:
    if len(report.operation) > LONGEST_NAME:
        raise InvalidFields(operation=f"must have at most {LONGEST_NAME:,} characters")
    try:
        histogram = Histogram.unpack(report.histogram)
    except ValueError as error:
        raise InvalidFields(histogram=str(error)) from error
    if histogram.largest > LARGEST:
        raise InvalidFields(histogram=f"holds a number over {LARGEST:,}")
    return histogram
