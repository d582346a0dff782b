"""What was acknowledged is there after a restart, once; a file that fails stops nothing."""

import asyncio
import resource
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from services.traces import metrics
from services.traces.collector import Collector
from services.traces.histograms import Histogram
from services.traces.latency import Latencies, Report
from services.traces.persistence import FILE, Persistence, open_store
from services.traces.population import Request
from services.traces.store import Changes, Store

MS = 1_000_000
NOW = 1_700_000_000.0


class Service:
    """What the process is made of."""

    def __init__(self, folder: Path | None, now: float = NOW, max_bytes: int = 10**8) -> None:
        self.latencies = Latencies(1.0, max_bytes, Random(1), clock=lambda: now)
        self.collector = Collector(max_bytes, 1.0, clock=lambda: now)
        self.persistence = Persistence(open_store(folder), self.latencies, self.collector, tick_seconds=0.05)

    async def report(self, source: str, sequence: int, operation: str = "a") -> None:
        histogram = Histogram()
        histogram.add(Request(sequence * MS, 1, {"gateway": sequence * MS}))
        self.latencies.report(source, sequence, [Report(operation, int(NOW) - 20, histogram.pack())])
        await self.persistence.saved()

    async def trace(self, number: int) -> None:
        at = int(NOW * 1e9)
        trace_id, text = number.to_bytes(16), AnyValue(string_value=f"line of {number}")
        span = otlp.Span(
            trace_id=trace_id, span_id=b"\1" * 8, name="a", start_time_unix_nano=at, end_time_unix_nano=at + number
        )
        self.collector.receive([otlp.ResourceSpans(scope_spans=[otlp.ScopeSpans(spans=[span])])])
        record = LogRecord(trace_id=trace_id, body=text)
        self.collector.receive_lines([ResourceLogs(scope_logs=[ScopeLogs(log_records=[record])])])
        await self.persistence.saved()

    def known(self) -> tuple[dict[str, int], list[int], list[str]]:
        """Requests by operation, durations of traces, lines."""
        operations = {name: one.requests for name, one in self.latencies.operations(self.latencies.stretch(3_600))}
        summaries = self.collector.summaries("", 1_000)
        lines = [line.text for one in summaries for line in self.collector.open(one.trace_id).lines]
        return operations, [one.duration for one in summaries], lines


@asynccontextmanager
async def running(folder: Path | None, now: float = NOW, max_bytes: int = 10**8) -> AsyncIterator[Service]:
    service = Service(folder, now, max_bytes)
    async with service.persistence.running():
        yield service


def written(folder: Path) -> tuple[int, int, int]:
    """Rows, as the process that has the file now does not let another read them."""
    store = Store(folder / FILE)
    rows = len(list(store.latencies())), len(list(store.sources())), len(list(store.traces()))
    store.close()
    return rows


async def test_a_restart_forgets_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    for sequence in range(1, 4):
        async with running(tmp_path) as service:
            await service.report("one", sequence)
            await service.report("one", sequence)
            await service.trace(sequence)
    async with running(tmp_path) as service:
        for sequence in range(1, 5):
            await service.report("one", sequence)
        assert service.known() == ({"a": 4}, [3, 2, 1], ["line of 3", "line of 2", "line of 1"])


async def test_what_is_acknowledged_is_in_the_file(tmp_path: Path) -> None:
    """A copy of the files at any moment is what a killed process leaves behind."""
    async with running(tmp_path / "folder") as service:
        for number in range(1, 4):
            await service.report("one", number)
            await service.trace(number)
            shutil.copytree(tmp_path / "folder", tmp_path / f"copy {number}")
    for number in range(1, 4):
        async with running(tmp_path / f"copy {number}") as service:
            await service.report("one", number)
            operations, durations, _ = service.known()
            assert (operations, len(durations)) == ({"a": number}, number)


async def test_many_wait_for_one_write(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await asyncio.gather(*(service.report(f"source {number}", 1) for number in range(100)))
    async with running(tmp_path) as service:
        await asyncio.gather(*(service.report(f"source {number}", 1) for number in range(100)))
        assert service.known()[0] == {"a": 100}


async def test_what_grew_old_while_it_was_down_is_gone_from_the_file_too(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await service.report("one", 1)
        await service.trace(1)
    async with running(tmp_path, now=NOW + 7_200) as service:
        assert service.known() == ({}, [], [])
    assert written(tmp_path) == (0, 1, 0)


async def test_what_gave_way_to_newer_is_gone_from_the_file_too(tmp_path: Path) -> None:
    async with running(tmp_path, max_bytes=5_000) as service:
        for number in range(1, 101):
            await service.trace(number)
        kept = service.known()[1]
        assert len(kept) < 20
    async with running(tmp_path, max_bytes=5_000) as service:
        assert service.known()[1] == kept
    assert written(tmp_path)[2] == len(kept)


async def test_a_file_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    file = tmp_path / FILE
    for content in (b"this is no database, and never was" * 100, b"nor was this" * 200):
        file.write_bytes(content)
        async with running(tmp_path) as service:
            await service.report("one", 1)
        assert file.with_suffix(".unusable").read_bytes() == content
        async with running(tmp_path) as service:
            assert service.known()[0] == {"a": 1}


async def test_a_row_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await service.report("one", 1)
        await service.trace(1)
    store = Store(tmp_path / FILE)
    store.write(Changes({(int(NOW) - 30, "b"): b"\xc1"}, {}, {"0" * 32: (NOW, b"\x92")}))
    store.close()
    async with running(tmp_path) as service:
        assert service.known()[:2] == ({"a": 1}, [1])


async def test_a_folder_that_cannot_be_made_leaves_all_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = metrics.store_failures._value.get()
    async with running(tmp_path / "file" / "folder") as service:
        await service.report("one", 1)
        assert service.known()[0] == {"a": 1}
    assert metrics.store_failures._value.get() == before + 1


async def test_without_a_folder_all_is_in_memory() -> None:
    async with running(None) as service:
        await service.report("one", 1)
        assert service.known()[0] == {"a": 1}


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow past 40 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_stops_nothing_and_is_made_up_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = metrics.store_failures._value.get()
    async with running(tmp_path) as service:
        await service.report("one", 1)
        with full_disk():
            for number in range(1, 201):
                await service.trace(number)
                await service.report("one", number + 1, f"operation {number}")
            await asyncio.sleep(0.3)  # in which all of it is tried again, in vain
        known = service.known()
        assert len(known[0]) == 201
        assert len(known[1]) == 200
    assert metrics.store_failures._value.get() > before
    assert capsys.readouterr().out.count("traces are kept in memory only") == 1
    async with running(tmp_path) as service:
        await service.report("one", 201)
        assert service.known() == known
