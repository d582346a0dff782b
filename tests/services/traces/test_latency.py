"""Reports are added up once, whoever sends them and however often."""

from random import Random

import msgspec
import pytest

from services.runtime.errors import InvalidFields, OperationNotFound
from services.traces.attribution import Blame
from services.traces.histograms import Histogram
from services.traces.latency import WINDOW_SECONDS, Latencies, Report
from services.traces.population import Request

NOW = 1_000_000
MS = 1_000_000


def _report(operation: str, latencies: list[int], start: int = NOW - 10) -> Report:
    histogram = Histogram()
    for latency in latencies:
        histogram.add(Request(latency, 1, {"gateway": latency}, trace_id=f"{latency:x}"))
    return Report(operation, start, msgspec.msgpack.encode(histogram.to_wire()))


@pytest.fixture
def latencies() -> Latencies:
    return Latencies(1.0, Random(1), clock=lambda: float(NOW))


def test_a_report_that_comes_twice_counts_once(latencies: Latencies) -> None:
    for _ in range(3):
        latencies.report("one", 1, [_report("a", [MS] * 10)])
    latencies.report("two", 1, [_report("a", [MS] * 5)])
    assert [(one.operation, one.requests) for one in latencies.operations(300)] == [("a", 15)]


def test_reports_of_many_gateways_are_one_population(latencies: Latencies) -> None:
    for source in range(4):
        latencies.report(f"gateway {source}", 1, [_report("a", [(n * 4 + source + 1) * MS for n in range(1_000)])])
    judged = latencies.blame("a", 99.0, 300)
    assert judged.requests == 4_000
    assert judged.latency == pytest.approx(3_960 * MS, rel=0.03)
    assert isinstance(judged.blame, Blame)
    assert sum(share.time for share in judged.blame.shares) == judged.latency


def test_a_broken_report_adds_nothing_and_may_be_sent_again(latencies: Latencies) -> None:
    broken = Report("b", NOW, b"\xc1")
    with pytest.raises(InvalidFields):
        latencies.report("one", 1, [_report("a", [MS]), broken])
    assert latencies.operations(300) == []
    latencies.report("one", 1, [_report("a", [MS])])
    assert len(latencies.operations(300)) == 1


@pytest.mark.parametrize(("source", "sequence"), [("", 1), ("one", 0), ("one", -1)])
def test_a_report_needs_a_source_and_a_number(latencies: Latencies, source: str, sequence: int) -> None:
    with pytest.raises(InvalidFields):
        latencies.report(source, sequence, [])


def test_windows_outside_the_question_do_not_count(latencies: Latencies) -> None:
    latencies.report("one", 1, [_report("old", [MS], NOW - 600), _report("new", [MS], NOW - WINDOW_SECONDS)])
    assert [one.operation for one in latencies.operations(60)] == ["new"]
    with pytest.raises(OperationNotFound):
        latencies.blame("old", 99.0, 60)


def test_what_is_older_than_the_store_keeps_is_gone(latencies: Latencies) -> None:
    latencies.report("one", 1, [_report("ancient", [MS], NOW - 7_200)])
    assert latencies.operations(1e9) == []


@pytest.mark.parametrize("percentile", [0.0, 49.9, 100.0, float("nan")])
def test_a_percentile_has_bounds(latencies: Latencies, percentile: float) -> None:
    with pytest.raises(InvalidFields):
        latencies.blame("a", percentile, 300)


def test_endless_operation_names_become_one(latencies: Latencies) -> None:
    latencies.report("one", 1, [_report(f"op {number}", [MS]) for number in range(1_200)])
    seen = {one.operation: one.requests for one in latencies.operations(300)}
    assert len(seen) == 1_001
    assert seen["other operations"] == 200
