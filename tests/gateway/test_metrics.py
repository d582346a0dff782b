"""What Prometheus is told: bounded, adding up, and leading to traces that are kept."""

import asyncio
from collections.abc import Iterable, Mapping
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Exemplar, Metric, Sample
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.metrics import REMEMBERED, HttpMetrics
from gateway.reports import OTHERS
from gateway.shares import IDLE_SECONDS, MAX_OPERATIONS, Overhead, SharesMetrics
from gateway.spans import TOGETHER
from services.traces.histograms import MAX_LABELS, OTHER
from tests.gateway.clients import SETTLE_SECONDS, World
from tests.gateway.test_queries import SHOW

MS = 1_000_000
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
KEPT = "c" * 32
NONE = Exemplar({}, 0.0)


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def scraped(collector: Collector) -> list[Sample]:
    """Through OpenMetrics and back, which refuses what is not well-formed."""
    registry = CollectorRegistry()
    registry.register(collector)
    return parsed(generate_latest(registry).decode())  # type: ignore[no-untyped-call]


def parsed(text: str) -> list[Sample]:
    families: Iterable[Metric] = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return [sample for family in families for sample in family.samples]


def values(samples: list[Sample], name: str, key: str) -> dict[str, float]:
    """By one of the labels."""
    return {sample.labels[key]: sample.value for sample in samples if sample.name == name}


def test_the_shares_of_all_requests_add_up_to_their_latency_and_every_label_counts_them_all() -> None:
    metrics = SharesMetrics(clock=Clock())
    requests: list[Mapping[str, int]] = [
        {"gateway": 2 * MS, "graph": 5 * MS},
        {"gateway": 3 * MS},
        {"gateway": 1 * MS, "auth/postgres": 700 * MS},
    ]
    for shares in requests:
        metrics.count("query Q", shares, "", 0)
    samples = scraped(metrics)
    assert values(samples, "critical_path_seconds_count", "label") == {"gateway": 3, "graph": 3, "auth/postgres": 3}
    sums = values(samples, "critical_path_seconds_sum", "label")
    assert sums == pytest.approx({"gateway": 0.006, "graph": 0.005, "auth/postgres": 0.7})
    graph = [sample for sample in samples if sample.name.endswith("_bucket") and sample.labels["label"] == "graph"]
    assert {sample.labels["le"]: sample.value for sample in graph if float(sample.labels["le"]) <= 0.01} == {
        "0.001": 2,  # the two that it owed nothing to
        "0.0025": 2,
        "0.005": 3,
        "0.01": 3,
    }


def test_no_series_ever_falls() -> None:
    metrics, before = SharesMetrics(clock=Clock()), dict[tuple[str, ...], float]()
    for number in range(50):
        metrics.count("query Q", {f"label {number % 7}": number * 3 * MS}, "", 0)
        now = {(sample.name, *sample.labels.values()): sample.value for sample in scraped(metrics)}
        assert all(now[key] >= value for key, value in before.items())
        before = now


def test_too_many_operations_are_taken_together_until_one_has_not_been_asked_for_long() -> None:
    clock = Clock()
    metrics = SharesMetrics(clock=clock)
    for number in range(MAX_OPERATIONS + 5):
        metrics.count(f"query Q{number}", {"gateway": MS}, "", 0)

    def counts() -> dict[str, float]:
        return values(scraped(metrics), "critical_path_seconds_count", "operation")

    assert len(counts()) == MAX_OPERATIONS + 1
    assert counts()[OTHERS] == 5
    clock.now += IDLE_SECONDS + 1
    for number in range(1, MAX_OPERATIONS):
        metrics.count(f"query Q{number}", {"gateway": MS}, "", 0)
    counts()
    metrics.count("query New", {"gateway": MS}, "", 0)
    metrics.count("query Newer", {"gateway": MS}, "", 0)
    now = counts()
    assert now["query New"] == 1
    assert "query Q0" not in now
    assert "query Newer" not in now
    assert now[OTHERS] == 6
    assert now["query Q1"] == 2


def test_too_many_labels_are_taken_together() -> None:
    metrics = SharesMetrics(clock=Clock())
    for number in range(MAX_LABELS + 5):
        metrics.count("query Q", {f"label {number}": MS}, "", 0)
    sums = values(scraped(metrics), "critical_path_seconds_sum", "label")
    assert len(sums) == MAX_LABELS + 1
    assert sums[OTHER] == pytest.approx(0.005)


def test_only_kept_traces_are_examples_each_in_its_bucket_and_told_of() -> None:
    told: list[str] = []
    metrics = SharesMetrics(told.append, Clock())
    metrics.count("query Q", {"gateway": 30 * MS, "graph": 2 * MS}, KEPT, 0)
    metrics.count("query Q", {"gateway": 3_000 * MS}, "", 0)
    samples = scraped(metrics)
    examples = {
        (one.labels["label"], one.labels["le"], round(one.exemplar.value, 9)) for one in samples if one.exemplar
    }
    assert examples == {("gateway", "0.05", 0.03), ("graph", "0.0025", 0.002)}
    assert {one.exemplar.labels["trace_id"] for one in samples if one.exemplar} == {KEPT}
    assert told == [KEPT]


def test_dropped_spans_are_counted() -> None:
    metrics = SharesMetrics(clock=Clock())
    for dropped in (0, 3, 4):
        metrics.count("query Q", {}, "", dropped)
    [total] = [sample.value for sample in scraped(metrics) if sample.name == "spans_dropped_total"]
    assert total == 7


def test_the_latest_kept_trace_of_any_status_is_the_example_of_a_duration() -> None:
    clock = Clock()
    metrics = HttpMetrics(clock)
    for number, (status, kept) in enumerate(((200, "a"), (500, "b"), (200, ""))):
        clock.now += 1
        for other in range(200):
            metrics.count("POST", "/graphql", status, 0.004, f"{number}{other:031x}")
        metrics.count("POST", "/graphql", status, 0.004, kept * 32)
        metrics.kept(kept * 32)
    metrics.kept("d" * 32)  # of a WebSocket, say
    samples = [sample for sample in scraped(metrics) if sample.exemplar]
    examples = {(one.name, one.labels.get("status")): (one.exemplar or NONE).labels["trace_id"] for one in samples}
    assert examples == {
        ("http_request_duration_seconds_bucket", None): "b" * 32,
        ("http_requests_total", "200"): "a" * 32,
        ("http_requests_total", "500"): "b" * 32,
    }


def test_a_trace_that_is_judged_late_is_an_example_all_the_same() -> None:
    metrics = HttpMetrics(Clock())
    metrics.count("POST", "/graphql", 200, 0.004, KEPT)
    for other in range(REMEMBERED - 1):
        metrics.count("POST", "/graphql", 200, 0.004, f"{other:032x}")
    metrics.kept(KEPT)
    assert any(sample.exemplar for sample in scraped(metrics))


def test_the_overhead_is_what_the_clock_says_between_begin_and_end() -> None:
    ticks = iter((5, 7, 100, 1_000))
    overhead = Overhead(lambda: next(ticks))
    for _ in range(2):
        with overhead:
            pass
    [total] = [sample.value for sample in scraped(overhead)]
    assert total == pytest.approx(902e-9)


async def until_example(world: World, trace_id: str) -> list[Sample]:
    """What a Prometheus is told once the trace is an example: it is judged a moment after it was answered."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            response = await world.client.http.get("/metrics", headers={"accept": OPENMETRICS})
            assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
            if f'trace_id="{trace_id}"' in response.text:
                return parsed(response.text)
            await asyncio.sleep(0.05)


async def test_the_gateway_tells_openmetrics_with_examples_to_those_who_ask_for_it(world: World) -> None:
    trace_id = uuid4().hex
    query = f"query Example{trace_id} {SHOW}"
    answer = await world.client.post({"query": query}, traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    assert "errors" not in answer.json()
    samples = await until_example(world, trace_id)
    mine = [one for one in samples if one.labels.get("operation", "").startswith(f"query Example{trace_id} ")]
    assert {one.labels["label"] for one in mine} >= {"gateway", "agent_store/postgres"}
    leading = {one.name for one in samples if one.exemplar and one.exemplar.labels == {"trace_id": trace_id}}
    assert leading == {
        "critical_path_seconds_bucket",
        "http_request_duration_seconds_bucket",
        "http_requests_total",
    }
    assert {"spans_dropped_total", "tracing_seconds_total"} <= {one.name for one in samples}


async def test_others_get_plain_text_which_has_no_examples(world: World) -> None:
    response = await world.client.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "critical_path_seconds_bucket{" in response.text
    assert "# {" not in response.text


async def test_measuring_is_measured(world: World) -> None:
    async def spent() -> float:
        text = (await world.client.http.get("/metrics", headers={"accept": OPENMETRICS})).text
        return next(sample.value for sample in parsed(text) if sample.name == "tracing_seconds_total")

    before = await spent()
    for _ in range(TOGETHER):
        await world.client.data("{ __typename }")
    assert await spent() > before
