"""The HTTP metrics of the performance baseline, by its names."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from operator import add

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.runtime.metrics import SECONDS

BOUNDS = [*map(str, SECONDS), "+Inf"]
METHODS = {"GET", "POST"}


class HttpMetrics(Collector):
    """Counts in plain lists: this is done for every request, and the library's own instruments cost more."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], list[float]] = {}
        """Method, path and status -> a count for each bucket, and behind them the sum of seconds."""

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """One more request has been answered."""
        series = self._series.get((method, path, status))
        if series is None:
            series = self._series[method, path, status] = [0] * len(BOUNDS) + [0.0]
        series[bisect_left(SECONDS, seconds)] += 1
        series[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        requests = CounterMetricFamily("http_requests", "Requests by status.", labels=["method", "path", "status"])
        durations = HistogramMetricFamily(
            "http_request_duration_seconds", "How long requests took.", labels=["method", "path"]
        )
        merged: dict[tuple[str, str], list[float]] = {}
        for (method, path, status), series in self._series.items():
            requests.add_metric((method, path, str(status)), sum(series[:-1]))
            merged[method, path] = list(map(add, merged.get((method, path), [0] * len(series)), series))
        for key, (*buckets, seconds) in merged.items():
            durations.add_metric(key, list(zip(BOUNDS, accumulate(buckets), strict=True)), seconds)
        yield requests
        yield durations
