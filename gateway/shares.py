"""Where the time of all requests goes, for Prometheus: `critical_path_seconds` by operation and label.

Whatever owed nothing to a request owed it 0 s, and is counted so. Therefore every label of an operation has the same
count, and `rate(critical_path_seconds_sum[5m]) / rate(critical_path_seconds_count[5m])` is the label's part of the
mean latency: the labels' parts sum to it.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.metrics import BOUNDS, NANOSECOND, Clock, Exemplars, buckets, exemplar
from gateway.reports import OTHERS
from services.runtime.metrics import SECONDS
from services.traces.histograms import MAX_LABELS, OTHER

NANOSECONDS = [round(bound / NANOSECOND) for bound in SECONDS]
MAX_OPERATIONS = 30
"""A series for each bucket of each label of each: a scrape of all of them takes 30 ms."""
IDLE_SECONDS = 900.0
"""An operation that was not asked for so long makes room for another: documents change, and their hashes with them."""


class _Operation:
    """What one operation's requests were made of."""

    __slots__ = ("active", "exemplars", "requests", "seen", "series")

    def __init__(self, now: float) -> None:
        self.requests = 0
        self.series: dict[str, list[int]] = {}
        """Label -> a count for each bucket, and behind them the sum of nanoseconds."""
        self.exemplars: dict[str, Exemplars] = {}
        self.seen = 0
        """How many requests there were when Prometheus last asked and found more than before."""
        self.active = now
        """When that was."""

    def admit(self, label: str) -> list[int]:
        """The series of a new label, or that of all others where there are too many."""
        if len(self.series) >= MAX_LABELS:
            label = OTHER
        return self.series.setdefault(label, [0] * (len(BOUNDS) + 1))

    def illustrate(self, shares: Mapping[str, int], trace_id: str, clock: Clock) -> None:
        """Remember a kept trace for each label."""
        for label, nanoseconds in shares.items():
            if label in self.series:
                place = bisect_left(NANOSECONDS, nanoseconds)
                known = self.exemplars.setdefault(label, {})
                known[place] = exemplar(trace_id, nanoseconds * NANOSECOND, clock)


def _nobody(_: str) -> None:
    """Need be told."""


class SharesMetrics(Collector):
    """Bounded in operations and in labels. Counts in plain lists, for this is done for every request."""

    def __init__(self, tell: Callable[[str], None] = _nobody, clock: Clock = time.time) -> None:
        """`tell` hears of each kept trace."""
        self._tell = tell
        self._operations = {OTHERS: _Operation(clock())}
        self._idle: list[str] = []
        self._dropped = 0
        self._clock = clock

    def count(self, operation: str, shares: Mapping[str, int], trace_id: str, dropped: int) -> None:
        """One more request has ended: nanoseconds by label, its trace if that is kept, and how many spans it lost."""
        known = self._operations.get(operation) or self._admit(operation)
        known.requests += 1
        for label, nanoseconds in shares.items():
            series = known.series.get(label) or known.admit(label)
            series[bisect_left(NANOSECONDS, nanoseconds)] += 1
            series[-1] += nanoseconds
        self._dropped += dropped
        if trace_id:
            known.illustrate(shares, trace_id, self._clock)
            self._tell(trace_id)

    def _admit(self, operation: str) -> _Operation:
        if self._is_full and self._idle:
            self._operations.pop(self._idle.pop(), None)
        return self._operations.setdefault(OTHERS if self._is_full else operation, _Operation(self._clock()))

    @property
    def _is_full(self) -> bool:
        return len(self._operations) > MAX_OPERATIONS

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        family = HistogramMetricFamily(
            "critical_path_seconds",
            "Each request's time on its critical path by whom it is owed, 0 s included.",
            labels=["operation", "label"],
        )
        for operation, known in self._operations.items():
            for label, (*counts, nanoseconds) in known.series.items():
                counts[0] += max(0, known.requests - sum(counts))
                found = buckets(counts, known.exemplars.get(label, {}))
                family.add_metric((operation, label), found, nanoseconds * NANOSECOND)
        self._find_idle()
        yield family
        yield CounterMetricFamily("spans_dropped", "Spans that did not fit into what rode home.", value=self._dropped)

    def _find_idle(self) -> None:
        now = self._clock()
        for known in self._operations.values():
            if known.requests > known.seen:
                known.seen, known.active = known.requests, now
        found = [name for name, known in self._operations.items() if now - known.active > IDLE_SECONDS]
        self._idle = [name for name in found if name != OTHERS]


class Overhead(Collector):
    """Entered around the work on traces: the CPU time that this takes."""

    def __init__(self, clock: Callable[[], int] = time.thread_time_ns) -> None:
        self._clock = clock
        self._began = 0
        self._nanoseconds = 0

    def __enter__(self) -> None:
        self._began = self._clock()

    def __exit__(self, *_: object) -> None:
        self._nanoseconds += self._clock() - self._began

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        yield CounterMetricFamily(
            "tracing_seconds",
            "CPU time spent on putting traces together and judging them.",
            value=self._nanoseconds * NANOSECOND,
        )
