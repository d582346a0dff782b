"""The HTTP metrics of the performance baseline, by its names, and what all of the gateway's own metrics are made of."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from operator import add

from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.runtime.metrics import SECONDS

BOUNDS = [*map(str, SECONDS), "+Inf"]
NANOSECOND = 1e-9
REMEMBERED = 512
"""Requests whose traces may yet be kept: more than are judged at once."""
_Key = tuple[str, str, int]

Exemplars = dict[int, Exemplar]
"""Bucket -> the latest kept trace whose value fell into it: what a graph's point leads to."""
Clock = Callable[[], float]
Bucket = tuple[str, float] | tuple[str, float, Exemplar]


def exemplar(trace_id: str, seconds: float, clock: Clock) -> Exemplar:
    """A kept trace as OpenMetrics names it."""
    return Exemplar({"trace_id": trace_id}, seconds, clock())


def buckets(counts: Sequence[float], exemplars: Exemplars) -> list[Bucket]:
    """The counts as Prometheus has them, each with all that is below it."""
    totals = zip(BOUNDS, accumulate(counts), strict=True)
    return [(*total, exemplars[place]) if place in exemplars else total for place, total in enumerate(totals)]


def newest(exemplars: Iterable[Exemplar]) -> Exemplar | None:
    """The one that happened last."""
    return max(exemplars, key=_moment, default=None)


def _moment(example: Exemplar) -> float:
    assert isinstance(example.timestamp, float)
    return example.timestamp


class HttpMetrics(Collector):
    """Counts in plain lists: this is done for every request, and the library's own instruments cost more."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._series: dict[_Key, list[float]] = {}
        """Method, path and status -> a count for each bucket, and behind them the sum of seconds."""
        self._exemplars: dict[_Key, Exemplars] = {}
        self._answered: dict[str, tuple[_Key, float]] = {}
        self._answered_before: dict[str, tuple[_Key, float]] = {}
        """By trace, until it is known whether that is kept."""
        self._clock = clock

    def count(self, method: str, path: str, status: int, seconds: float, trace_id: str = "") -> None:
        """One more request has been answered."""
        key = (method, path, status)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = [0] * len(BOUNDS) + [0.0]
        series[bisect_left(SECONDS, seconds)] += 1
        series[-1] += seconds
        if trace_id:
            self._answered[trace_id] = key, seconds
            if len(self._answered) >= REMEMBERED:
                self._answered, self._answered_before = {}, self._answered

    def kept(self, trace_id: str) -> None:
        """The trace of a request that was counted lately is kept, and so an example of what it was counted as."""
        found = self._answered.get(trace_id) or self._answered_before.get(trace_id)
        if found is not None:
            key, seconds = found
            place = bisect_left(SECONDS, seconds)
            self._exemplars.setdefault(key, {})[place] = exemplar(trace_id, seconds, self._clock)

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        yield self._requests()
        yield self._durations()

    def _requests(self) -> Metric:
        family = CounterMetricFamily("http_requests", "Requests by status.", labels=["method", "path", "status"])
        for key, series in self._series.items():
            method, path, status = key
            example = newest(self._exemplars.get(key, {}).values())
            family.add_metric((method, path, str(status)), sum(series[:-1]), exemplar=example)
        return family

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            "http_request_duration_seconds", "How long requests took.", labels=["method", "path"]
        )
        merged: dict[tuple[str, str], list[float]] = {}
        examples: dict[tuple[str, str], Exemplars] = {}
        for (method, path, status), series in self._series.items():
            merged[method, path] = list(map(add, merged.get((method, path), [0] * len(series)), series))
            _keep_newest(examples.setdefault((method, path), {}), self._exemplars.get((method, path, status), {}))
        for key, (*counts, seconds) in merged.items():
            family.add_metric(key, buckets(counts, examples[key]), seconds)
        return family


def _keep_newest(known: Exemplars, others: Exemplars) -> None:
    for place, other in others.items():
        if place not in known or _moment(known[place]) < _moment(other):
            known[place] = other
