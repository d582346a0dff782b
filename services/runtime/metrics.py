"""Prometheus metrics that every process has, and the scope that counts calls."""

import time
from types import TracebackType

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from services.runtime.outcomes import CODES
from services.runtime.scopes import Call

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

rpc_handled = Counter("grpc_server_handled", "RPCs that ended, by status code.", ["method", "code"])
rpc_seconds = Histogram("grpc_server_handling_seconds", "How long RPCs took.", ["method"], buckets=SECONDS)
database_connections = Gauge("database_connections_active", "Connections of the pool that are in use.")
cache_hits = Counter("cache_hits", "Look-ups that a cache answered.", ["cache"])
cache_misses = Counter("cache_misses", "Look-ups that a cache did not answer.", ["cache"])
tokens_refused = Counter("tokens_refused", "Tokens and API keys that were not accepted, by reason.", ["reason"])
events_relayed = Counter("events_relayed", "Outbox events that were handed to Redis.")
events_lag_seconds = Gauge("events_lag_seconds", "Age of the newest event of the feed when it was taken in.")


class MetricsScope:
    """Counts the call by the code that the caller sees."""

    __slots__ = ("_call", "_start")

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        rpc_handled.labels(self._call.method, CODES[self._call.ended(error).code]).inc()
        rpc_seconds.labels(self._call.method).observe(time.perf_counter() - self._start)


def serve_metrics(port: int | None) -> None:
    """Answer Prometheus on the port, if one is set."""
    if port is not None:
        start_http_server(port)
