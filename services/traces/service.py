"""The RPCs of the traces service, ours and OTLP's: proto in, call, proto out."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf

from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as otlp_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceServicer
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer

from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceServicer
from services.runtime.errors import InvalidFields
from services.runtime.scopes import Context
from services.traces import answers
from services.traces.collector import Collector
from services.traces.latency import MAX_STEPS, Latencies, Report, Stretch

DEFAULT_PERCENTILE = 99.0
DEFAULT_WINDOW_SECONDS = 300.0
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 1_000
DEFAULT_STEPS = 30


Saved = Callable[[], Awaitable[None]]
"""Returns when what has changed until now survives a restart."""


async def _in_memory() -> None:
    """For a service that keeps nothing."""


class Traces(TracesServiceServicer):
    """See the proto for what each RPC does. Questions are answered in threads: a day of latencies takes its time."""

    def __init__(self, latencies: Latencies, collector: Collector, saved: Saved = _in_memory) -> None:
        self._latencies = latencies
        self._collector = collector
        self._saved = saved

    async def ReportLatency(self, request: pb.ReportLatencyRequest, context: Context) -> pb.ReportLatencyResponse:
        reports = [Report(each.operation, each.start_time.seconds, each.histogram) for each in request.windows]
        self._latencies.report(request.source, request.sequence, reports)
        await self._saved()  # also when it was seen before: that may not be written yet
        return pb.ReportLatencyResponse()

    async def Blame(self, request: pb.BlameRequest, context: Context) -> pb.BlameResponse:
        percentile = request.percentile or DEFAULT_PERCENTILE
        stretch = self._stretch(request)
        judged = await asyncio.to_thread(self._latencies.blame, request.operation, percentile, stretch)
        return answers.judged(judged)

    async def BlameTimeline(self, request: pb.BlameTimelineRequest, context: Context) -> pb.BlameTimelineResponse:
        if not 0 <= request.steps <= MAX_STEPS:
            raise InvalidFields(steps=f"must be 0 to {MAX_STEPS}")
        question = request.operation, request.percentile or DEFAULT_PERCENTILE, self._stretch(request)
        steps = await asyncio.to_thread(self._latencies.timeline, *question, request.steps or DEFAULT_STEPS)
        return pb.BlameTimelineResponse(steps=[answers.step(*step) for step in steps])

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Context) -> pb.ListOperationsResponse:
        operations = await asyncio.to_thread(self._latencies.operations, self._stretch(request))
        return pb.ListOperationsResponse(operations=[answers.operation(*one) for one in operations])

    async def ListTraces(self, request: pb.ListTracesRequest, context: Context) -> pb.ListTracesResponse:
        if not 0 <= request.page_size <= MAX_PAGE_SIZE:
            raise InvalidFields(page_size=f"must be 0 to {MAX_PAGE_SIZE}")
        seconds, end = _seconds(request.window) or inf, _end(request)
        question = request.operation, request.page_size or DEFAULT_PAGE_SIZE, seconds, inf if end is None else end
        summaries = await asyncio.to_thread(self._collector.summaries, *question)
        return pb.ListTracesResponse(traces=[answers.summary(one) for one in summaries])

    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        return answers.opened(await asyncio.to_thread(self._collector.open, request.trace_id.lower()))

    def _stretch(self, request: pb.BlameRequest | pb.BlameTimelineRequest | pb.ListOperationsRequest) -> Stretch:
        return self._latencies.stretch(_seconds(request.window) or DEFAULT_WINDOW_SECONDS, _end(request))


class OtlpTraces(TraceServiceServicer):
    """OTLP over gRPC, from our own processes and from anyone else's."""

    def __init__(self, collector: Collector, saved: Saved = _in_memory) -> None:
        self._collector = collector
        self._saved = saved

    async def Export(
        self, request: otlp.ExportTraceServiceRequest, context: Context
    ) -> otlp.ExportTraceServiceResponse:
        refused = 0
        for count in self._collector.receiving(request.resource_spans):
            refused += count
            await asyncio.sleep(0)
        await self._saved()
        partial = otlp.ExportTracePartialSuccess(rejected_spans=refused) if refused else None
        return otlp.ExportTraceServiceResponse(partial_success=partial)


class OtlpLogs(LogsServiceServicer):
    """OTLP over gRPC: log lines, of which those are kept that were written for a kept trace."""

    def __init__(self, collector: Collector, saved: Saved = _in_memory) -> None:
        self._collector = collector
        self._saved = saved

    async def Export(
        self, request: otlp_logs.ExportLogsServiceRequest, context: Context
    ) -> otlp_logs.ExportLogsServiceResponse:
        refused = self._collector.receive_lines(request.resource_logs)
        await self._saved()
        partial = otlp_logs.ExportLogsPartialSuccess(rejected_log_records=refused) if refused else None
        return otlp_logs.ExportLogsServiceResponse(partial_success=partial)


def _seconds(window: Duration) -> float:
    """Zero where it is unset."""
    seconds = window.seconds + window.nanos / 1e9
    if seconds < 0:
        raise InvalidFields(window="must not be negative")
    return seconds


def _end(
    request: pb.BlameRequest | pb.BlameTimelineRequest | pb.ListOperationsRequest | pb.ListTracesRequest,
) -> float | None:
    end = request.end_time
    return end.seconds + end.nanos / 1e9 if request.HasField("end_time") else None
