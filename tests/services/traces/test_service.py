"""The traces service over real gRPC: what gateways report is blamed, what exporters send is drawn."""

import time
from random import Random
from typing import Any

import grpc
import msgspec
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import SEVERITY_NUMBER_ERROR, LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from uuid_utils import uuid4

from deploy.local.stack import Stack
from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.traces.histograms import Histogram
from services.traces.population import Request
from tests.conftest import Connect, Tenant, reason, service_token

MS = 1_000_000
T0 = 1_700_000_000_000_000_000


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def operator(stack: Stack, connect_as: Connect) -> Any:
    return connect_as(TracesServiceStub, await service_token(stack, "cli"))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def gateway(stack: Stack, connect_as: Connect) -> Any:
    return connect_as(TracesServiceStub, await service_token(stack, "gateway"))


def _report(operation: str, requests: int) -> pb.ReportLatencyRequest:
    histogram, random = Histogram(), Random(7)
    for _ in range(requests):
        slow = random.random() < 0.02
        shares = {"gateway": random.randrange(5, 9) * MS, "graph/neo4j": (200 if slow else 3) * MS}
        histogram.add(Request(sum(shares.values()), 1, shares, dict.fromkeys(shares, 4)))
    wire = msgspec.msgpack.encode(histogram.to_wire())
    window = pb.LatencyWindow(operation=operation, start_time=Timestamp(seconds=int(time.time())), histogram=wire)
    return pb.ReportLatencyRequest(source=str(uuid4()), sequence=1, windows=[window])


async def test_what_is_reported_is_blamed_and_sums_exactly(gateway: Any, operator: Any) -> None:
    operation = f"query {uuid4()}"
    report = _report(operation, 5_000)
    for _ in range(2):  # sent again, it counts once
        await gateway.ReportLatency(report)
    answer = await operator.Blame(pb.BlameRequest(operation=operation))
    assert (answer.request_count, answer.tail_count) == (5_000, 50)
    assert sum(part.duration_ns for part in answer.parts) == answer.latency_ns
    assert sum(part.excess_ns for part in answer.parts) == answer.latency_ns - answer.median_ns
    assert answer.parts[0].label == "graph/neo4j"
    assert answer.parts[0].excess_ns == pytest.approx(197 * MS, rel=0.05)
    for part in answer.parts:
        assert part.excess_low_ns <= part.excess_ns <= part.excess_high_ns
        assert part.calls == pytest.approx(4)
        assert 4 * part.per_call_ns == pytest.approx(part.duration_ns, abs=4)
    assert answer.coverage_percent == 100
    assert 0 < answer.error_percent < 3


async def test_a_timeline_and_the_operations_sum_exactly_too(gateway: Any, operator: Any) -> None:
    operation = f"query {uuid4()}"
    await gateway.ReportLatency(_report(operation, 500))
    steps = (await operator.BlameTimeline(pb.BlameTimelineRequest(operation=operation))).steps
    assert len(steps) == 30
    assert sum(step.request_count for step in steps) == 500
    listed = (await operator.ListOperations(pb.ListOperationsRequest())).operations
    for one in (
        *(step for step in steps if step.request_count),
        *(one for one in listed if one.operation == operation),
    ):
        assert sum(share.duration_ns for share in one.shares) == one.p99_ns > one.p95_ns > one.p50_ns > 0
        assert sum(share.duration_ns for share in one.median_shares) == one.p50_ns
    assert await operator.BlameTimeline(pb.BlameTimelineRequest(operation="nothing", steps=1)) == (
        pb.BlameTimelineResponse(steps=[pb.BlameStep(start_time=steps[0].start_time, duration=Duration(seconds=300))])
    )


async def test_too_few_requests_name_nobody(gateway: Any, operator: Any) -> None:
    operation = f"query {uuid4()}"
    await gateway.ReportLatency(_report(operation, 100))
    answer = await operator.Blame(pb.BlameRequest(operation=operation))
    assert (list(answer.parts), answer.tail_count, answer.request_count) == ([], 1, 100)


REFUSED = {
    "an unknown operation": ("Blame", pb.BlameRequest(operation="nothing"), "OPERATION_NOT_FOUND"),
    "a percentile of 100": ("Blame", pb.BlameRequest(percentile=100), "INVALID_FIELDS"),
    "a negative window": ("Blame", pb.BlameRequest(window=Duration(seconds=-1)), "INVALID_FIELDS"),
    "a timeline of 361 steps": ("BlameTimeline", pb.BlameTimelineRequest(steps=361), "INVALID_FIELDS"),
    "a timeline of the 100th": ("BlameTimeline", pb.BlameTimelineRequest(percentile=100), "INVALID_FIELDS"),
    "an unknown trace": ("GetTrace", pb.GetTraceRequest(trace_id="0" * 32), "TRACE_NOT_FOUND"),
    "an endless page": ("ListTraces", pb.ListTracesRequest(page_size=1_001), "INVALID_FIELDS"),
    "a report by an operator": ("ReportLatency", pb.ReportLatencyRequest(), "PERMISSION_MISSING"),
}


@pytest.mark.parametrize(("method", "request_", "expected"), REFUSED.values(), ids=REFUSED)
async def test_refuses(operator: Any, method: str, request_: Any, expected: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(operator, method)(request_)
    assert reason(caught.value) == expected


async def test_the_owner_of_an_organization_is_no_operator(connect_as: Connect, tenant: Tenant) -> None:
    for method in ("Blame", "BlameTimeline", "ListOperations", "ListTraces", "GetTrace"):
        request = getattr(pb, f"{method}Request")()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(connect_as(TracesServiceStub, tenant), method)(request)
        assert reason(caught.value) == "PERMISSION_MISSING"


def _span(trace_id: bytes, number: int, parent: int, start: int, end: int, kind: Any) -> trace_pb2.Span:
    return trace_pb2.Span(
        trace_id=trace_id,
        span_id=number.to_bytes(8),
        parent_span_id=parent.to_bytes(8) if parent else b"",
        name=f"span {number}",
        kind=kind,
        start_time_unix_nano=T0 + start,
        end_time_unix_nano=T0 + end,
    )


async def test_a_foreign_trace_is_drawn_with_its_critical_path(stack: Stack, operator: Any) -> None:
    trace_id, kinds = uuid4().bytes, trace_pb2.Span
    spans = [
        _span(trace_id, 1, 0, 0, 100, kinds.SPAN_KIND_SERVER),
        _span(trace_id, 2, 1, 10, 90, kinds.SPAN_KIND_INTERNAL),
        _span(trace_id, 3, 1, 5, 20, kinds.SPAN_KIND_INTERNAL),
        _span(trace_id, 4, 2, 30, 60, kinds.SPAN_KIND_INTERNAL),
    ]
    resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="shop"))])
    batch = trace_pb2.ResourceSpans(resource=resource, scope_spans=[trace_pb2.ScopeSpans(spans=spans)])
    record = LogRecord(trace_id=trace_id, time_unix_nano=T0 + 40, severity_number=SEVERITY_NUMBER_ERROR)
    record.body.string_value = "oh"
    async with grpc.aio.insecure_channel(stack.targets["traces"]) as channel:
        exporter: Any = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
        await exporter.Export(otlp.ExportTraceServiceRequest(resource_spans=[batch]))
        logs: Any = LogsServiceStub(channel)  # type: ignore[no-untyped-call]
        logged = ResourceLogs(resource=resource, scope_logs=[ScopeLogs(log_records=[record])])
        await logs.Export(ExportLogsServiceRequest(resource_logs=[logged]))
    answer = await operator.GetTrace(pb.GetTraceRequest(trace_id=trace_id.hex()))
    assert [span.name for span in answer.spans] == ["span 1", "span 3", "span 2", "span 4"]
    assert {span.name: span.critical_ns for span in answer.spans} == {
        "span 1": 20,
        "span 2": 50,
        "span 3": 0,
        "span 4": 30,
    }
    assert sum(share.duration_ns for share in answer.shares) == answer.summary.duration_ns == 100
    bounds = [(section.start_ns, section.end_ns) for section in answer.sections]
    assert bounds == [(0, 10), (10, 30), (30, 60), (60, 90), (90, 100)]
    assert {span.label for span in answer.spans} == {section.label for section in answer.sections} == {"shop"}
    assert [(line.service, line.severity, line.text) for line in answer.logs] == [("shop", "ERROR", "oh")]
    assert answer.logs[0].time.ToNanoseconds() == T0 + 40
    listed = await operator.ListTraces(pb.ListTracesRequest(operation="span 1"))
    assert trace_id.hex() in {summary.trace_id for summary in listed.traces}
