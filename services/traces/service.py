"""The RPCs of the traces service, ours and OTLP's: proto in, call, proto out."""

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer

from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceServicer
from services.runtime.errors import InvalidFields
from services.runtime.scopes import Context
from services.runtime.span_wire import Kind
from services.traces.attribution import Blame
from services.traces.attribution import Share as BlamedShare
from services.traces.collector import Collector, Opened, Summary
from services.traces.critical_path import Span, SpanId, shares
from services.traces.latency import Judged, Latencies, Report

DEFAULT_PERCENTILE = 99.0
DEFAULT_WINDOW_SECONDS = 300.0
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 1_000


class Traces(TracesServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, latencies: Latencies, collector: Collector) -> None:
        self._latencies = latencies
        self._collector = collector

    async def ReportLatency(self, request: pb.ReportLatencyRequest, context: Context) -> pb.ReportLatencyResponse:
        reports = [Report(each.operation, each.start_time.seconds, each.histogram) for each in request.windows]
        self._latencies.report(request.source, request.sequence, reports)
        return pb.ReportLatencyResponse()

    async def Blame(self, request: pb.BlameRequest, context: Context) -> pb.BlameResponse:
        percentile = request.percentile or DEFAULT_PERCENTILE
        return _judged(self._latencies.blame(request.operation, percentile, _window(request)))

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Context) -> pb.ListOperationsResponse:
        operations = [
            pb.Operation(
                operation=one.operation, request_count=one.requests, p50_ns=one.p50, p95_ns=one.p95, p99_ns=one.p99
            )
            for one in self._latencies.operations(_window(request))
        ]
        return pb.ListOperationsResponse(operations=operations)

    async def ListTraces(self, request: pb.ListTracesRequest, context: Context) -> pb.ListTracesResponse:
        if not 0 <= request.page_size <= MAX_PAGE_SIZE:
            raise InvalidFields(page_size=f"must be 0 to {MAX_PAGE_SIZE}")
        summaries = self._collector.summaries(request.operation, request.page_size or DEFAULT_PAGE_SIZE)
        return pb.ListTracesResponse(traces=[_summary(summary) for summary in summaries])

    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        return _opened(self._collector.open(request.trace_id))


class OtlpTraces(TraceServiceServicer):
    """OTLP over gRPC, from our own processes and from anyone else's."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(
        self, request: otlp.ExportTraceServiceRequest, context: Context
    ) -> otlp.ExportTraceServiceResponse:
        refused = self._collector.receive(request.resource_spans)
        partial = otlp.ExportTracePartialSuccess(rejected_spans=refused) if refused else None
        return otlp.ExportTraceServiceResponse(partial_success=partial)


def _window(request: pb.BlameRequest | pb.ListOperationsRequest) -> float:
    window: Duration = request.window
    seconds = window.seconds + window.nanos / 1e9
    return seconds if seconds > 0 else DEFAULT_WINDOW_SECONDS


def _judged(judged: Judged) -> pb.BlameResponse:
    response = pb.BlameResponse(
        operation=judged.operation,
        request_count=judged.requests,
        latency_ns=judged.latency,
        median_ns=judged.median,
        slowest_trace_id=judged.slowest_trace_id,
        tail_count=judged.blame.in_tail,
    )
    if isinstance(judged.blame, Blame):
        _name(response, judged.blame)
    return response


def _name(response: pb.BlameResponse, blame: Blame) -> None:
    response.parts.extend(_part(share) for share in blame.shares)
    response.tail_ns = blame.tail
    response.typical_trace_id = blame.typical_trace_id
    response.incomplete_count = blame.incomplete
    response.ambiguous_count = blame.ambiguous
    response.dropped_count = blame.dropped


def _part(share: BlamedShare) -> pb.BlamedPart:
    return pb.BlamedPart(
        label=share.label,
        duration_ns=share.time,
        excess_ns=share.excess,
        low_ns=share.low,
        high_ns=share.high,
        tail_ns=share.tail,
        calls=share.calls,
    )


def _summary(summary: Summary) -> pb.TraceSummary:
    start = Timestamp()
    start.FromNanoseconds(summary.start)
    return pb.TraceSummary(
        trace_id=summary.trace_id,
        operation=summary.operation,
        start_time=start,
        duration_ns=summary.duration,
        span_count=summary.span_count,
        failed=summary.failed,
    )


def _opened(opened: Opened) -> pb.GetTraceResponse:
    critical: dict[str, int] = {}
    for span, start, end, _ in opened.path.sections:
        critical[str(span.span_id)] = critical.get(str(span.span_id), 0) + end - start
    return pb.GetTraceResponse(
        summary=_summary(opened.summary),
        spans=[_span(span, opened.summary.start, critical) for span in _in_depth(opened.spans)],
        shares=[pb.Share(label=label, duration_ns=time) for label, time in shares(opened.path).items()],
        incomplete=opened.path.incomplete,
    )


def _in_depth(placed: Sequence[Span]) -> Iterator[Span]:
    """Each span followed by all below it, siblings by their begin. The first of the placed ones is the root."""
    below: dict[SpanId | None, list[Span]] = {}
    for span in placed[1:]:
        below.setdefault(span.parent_id, []).append(span)
    shown, stack = {placed[0].span_id}, [placed[0]]
    while stack:
        span = stack.pop()
        yield span
        children = sorted(below.pop(span.span_id, ()), key=lambda child: child.start, reverse=True)
        shown.update(child.span_id for child in children)
        stack += children
    # A span without a parent here hangs under the root, and a ring of parents is cut; both are drawn last.
    yield from (span for span in placed if span.span_id not in shown)


def _span(span: Span, origin: int, critical: Mapping[str, int]) -> pb.Span:
    return pb.Span(
        span_id=str(span.span_id),
        parent_id=str(span.parent_id or ""),
        service=span.service,
        name=span.name,
        kind=Kind(span.kind).name.lower().replace("_", " "),
        start_ns=span.start - origin,
        end_ns=span.end - origin,
        failed=bool(span.status),
        critical_ns=critical.get(str(span.span_id), 0),
    )
