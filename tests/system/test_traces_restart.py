"""The traces service is killed while two gateways report: nothing acknowledged is lost, nothing is counted twice."""

import asyncio
import time
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1 import trace_pb2
from uuid_utils import uuid4

from deploy.local.stack import Stack
from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.runtime.errors import DomainError
from services.traces.histograms import Histogram
from services.traces.population import Request
from tests.conftest import Connect, service_token

MS = 1_000_000
KILLS = 3


class Source:
    """Reports as a gateway does: the next one when this one is acknowledged, this one again when it is not."""

    def __init__(self, traces: Any, operation: str, acknowledged: asyncio.Queue[None]) -> None:
        self._traces = traces
        self._operation = operation
        self._source = str(uuid4())
        self._acknowledged = acknowledged
        self.count = 0
        self.attempts = 0

    async def run(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await self._send(self._report(self.count + 1))
            self.count += 1
            self._acknowledged.put_nowait(None)

    async def repeat(self) -> None:
        """The last acknowledged one, as if the acknowledgement had been lost."""
        await self._send(self._report(self.count))

    async def _send(self, report: pb.ReportLatencyRequest) -> None:
        while not await self._sent(report):
            pass

    def _report(self, sequence: int) -> pb.ReportLatencyRequest:
        histogram = Histogram()
        histogram.add(Request(sequence * MS, 1, {"gateway": sequence * MS}))
        start = Timestamp(seconds=int(time.time()))
        packed = msgspec.msgpack.encode(histogram.to_wire())
        window = pb.LatencyWindow(operation=self._operation, start_time=start, histogram=packed)
        return pb.ReportLatencyRequest(source=self._source, sequence=sequence, windows=[window])

    async def _sent(self, report: pb.ReportLatencyRequest) -> bool:
        self.attempts += 1
        try:
            await self._traces.ReportLatency(report, timeout=2)
        except (grpc.aio.AioRpcError, DomainError):
            return False
        return True


async def _keep_a_trace(stack: Stack, trace_id: bytes) -> None:
    now = time.time_ns()
    span = trace_pb2.Span(trace_id=trace_id, span_id=b"\1" * 8, start_time_unix_nano=now, end_time_unix_nano=now + 5)
    spans = trace_pb2.ResourceSpans(scope_spans=[trace_pb2.ScopeSpans(spans=[span])])
    record = LogRecord(trace_id=trace_id, time_unix_nano=now)
    record.body.string_value = "still there"
    lines = ResourceLogs(scope_logs=[ScopeLogs(log_records=[record])])
    async with grpc.aio.insecure_channel(stack.targets["traces"]) as channel:
        exporter: Any = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
        logs: Any = LogsServiceStub(channel)  # type: ignore[no-untyped-call]
        await exporter.Export(ExportTraceServiceRequest(resource_spans=[spans]))
        await logs.Export(ExportLogsServiceRequest(resource_logs=[lines]))


async def test_killed_again_and_again_it_counts_every_report_once(stack: Stack, connect_as: Connect) -> None:
    traces = connect_as(TracesServiceStub, await service_token(stack, "gateway"))
    operator = connect_as(TracesServiceStub, await service_token(stack, "cli"))
    operation, trace_id, done = f"query {uuid4()}", uuid4().bytes, asyncio.Event()
    await _keep_a_trace(stack, trace_id)
    acknowledged: asyncio.Queue[None] = asyncio.Queue()
    sources = [Source(traces, operation, acknowledged) for _ in range(2)]
    running = [asyncio.create_task(source.run(done)) for source in sources]
    for _ in range(KILLS):
        for _ in range(40):
            await acknowledged.get()
        await stack.kill("traces")
        await stack.start("traces")
        await asyncio.gather(*(source.repeat() for source in sources))
    done.set()
    await asyncio.gather(*running)
    answer = await operator.Blame(pb.BlameRequest(operation=operation))
    assert answer.request_count == sum(source.count for source in sources)
    assert answer.latency_ns == pytest.approx(_percentile(sources), rel=0.03)
    assert sum(source.attempts for source in sources) > answer.request_count + 2 * KILLS
    kept = await operator.GetTrace(pb.GetTraceRequest(trace_id=trace_id.hex()))
    assert [line.text for line in kept.logs] == ["still there"]


def _percentile(sources: list[Source]) -> int:
    """The 99th, which shows that each latency was counted once, and not one of them twice in another's place."""
    latencies = sorted(n * MS for source in sources for n in range(1, source.count + 1))
    return latencies[-(-99 * len(latencies) // 100) - 1]
