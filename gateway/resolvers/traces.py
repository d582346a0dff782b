"""Who owes an operation's latency, and traces: what the traces service answers to operators."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from ariadne import ObjectType, QueryType
from google.protobuf.duration_pb2 import Duration

from gateway.context import Info, page_size
from gateway.resolvers.messages import null_when_empty, read
from neurectomy.traces.v1 import traces_pb2 as pb
from services.runtime.errors import InvalidFields

MAX_SPANS = 10_000
MAX_WINDOW_SECONDS = 86_400

query = QueryType()
blame, operation, trace = ObjectType("LatencyBlame"), ObjectType("LatencyOperation"), ObjectType("Trace")
span, line = ObjectType("Span"), ObjectType("LogLine")
bindables = [query, blame, operation, trace, span, line]

null_when_empty(blame, "operation", "slowest_trace_id", "typical_trace_id")
null_when_empty(span, "parent_id", "status_message")
null_when_empty(line, "span_id")
read(operation, {"p50Ns": "p50_ns", "p95Ns": "p95_ns", "p99Ns": "p99_ns"})
read(span, {"id": "span_id"})
read(
    trace,
    {
        "id": "summary.trace_id",
        "operation": "summary.operation",
        "startTime": "summary.start_time",
        "durationNs": "summary.duration_ns",
        "failed": "summary.failed",
    },
)


@query.field("latencyBlame")
async def latency_blame(
    _: None, info: Info, percentile: float, window: int, operation: str | None = None
) -> pb.BlameResponse:
    request = pb.BlameRequest(operation=operation or "", percentile=_percentile(percentile), window=_window(window))
    return await info.context.services.traces.Blame(request)


@query.field("latencyOperations")
async def latency_operations(_: None, info: Info, window: int, first: int) -> Sequence[pb.Operation]:
    size = page_size(first)
    answer = await info.context.services.traces.ListOperations(pb.ListOperationsRequest(window=_window(window)))
    return answer.operations[:size]


@query.field("trace")
async def get_trace(_: None, info: Info, id: str) -> pb.GetTraceResponse:
    return await info.context.services.traces.GetTrace(pb.GetTraceRequest(trace_id=id.lower()))


def _percentile(percentile: float) -> float:
    """The service takes 0 for 99, which no client means."""
    if not 50 <= percentile < 100:
        raise InvalidFields(percentile="must be at least 50 and less than 100")
    return percentile


def _window(seconds: int) -> Duration:
    if not 1 <= seconds <= MAX_WINDOW_SECONDS:
        raise InvalidFields(window=f"must be 1 to {MAX_WINDOW_SECONDS:,}")
    return Duration(seconds=seconds)


def _first_of(name: str, most: int = 1_000) -> Callable[..., Any]:
    """A field that gives as many of a list as are asked for."""
    items = attrgetter(name)

    def resolve(source: Any, _: Info, first: int) -> Any:
        return items(source)[: page_size(first, most)]

    return resolve


blame.set_field("parts", _first_of("parts"))
operation.set_field("shares", _first_of("shares"))
operation.set_field("medianShares", _first_of("median_shares"))
trace.set_field("shares", _first_of("shares"))
trace.set_field("logs", _first_of("logs"))
trace.set_field("spans", _first_of("spans", MAX_SPANS))
trace.set_field("sections", _first_of("sections", MAX_SPANS))
