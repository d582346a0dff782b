"""Where a request's time went: shares that sum to it, reported for all and kept for some."""

import asyncio
from typing import Any
from uuid import uuid4

import grpc

from deploy.local.stack import Stack
from gateway.reports import Reports
from gateway.spans import Ended, Spans, measure
from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.runtime.export import SpanExport
from services.runtime.span_wire import Kind, Recorded, Span, pack
from services.runtime.telemetry import Recording
from services.runtime.trace_context import TraceContext
from services.traces.population import Request
from tests.conftest import Connect, service_token
from tests.gateway.clients import SETTLE_SECONDS, World
from tests.gateway.test_queries import SHOW

METHOD = "/neurectomy.graph.v1.GraphService/BatchTraverse"


def recording(trace: TraceContext | None = None, child: bytes | None = None) -> Recording:
    """A request with one call to the graph, from 100 us to 900 us."""
    made = Recording("graphql", trace or TraceContext("0" * 31 + "1"))
    made.add(Recorded(1, 0, Kind.CLIENT, METHOD, 100, 800, 0, child))
    return made


def ended(made: Recording, latency: int, failed: bool = False) -> Ended:
    return Ended(made, "query X 00000000", latency, failed)


def test_the_shares_of_a_request_sum_to_its_latency() -> None:
    inside = [Recorded(1, 0, Kind.NEO4J, "traverse", 100, 300)]
    child = pack("graph", METHOD, 1 << 40, 600, 0, 0, inside)
    measured = measure(ended(recording(child=child), 1_000_000))
    assert measured.shares == {"gateway": 200_000, "graph/wait": 200_000, "graph": 300_000, "graph/neo4j": 300_000}


def test_a_call_whose_service_said_nothing_is_owed_by_it_all_the_same() -> None:
    measured = measure(ended(recording(), 1_000_000))
    assert measured.shares == {"gateway": 200_000, "graph/remote": 800_000}


class Kept(SpanExport):
    """What would be exported."""

    def __init__(self) -> None:
        super().__init__("gateway")
        self.traces: list[tuple[str, list[Span]]] = []

    def spans(self, trace_id: str, spans: Any, epoch: int, state: str = "") -> None:
        self.traces.append((trace_id, list(spans)))


class Counted(Reports):
    """What would be reported."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def add(self, operation: str, request: Request) -> None:
        self.requests.append(request)


def end(spans: Spans, latency: int, trace: TraceContext | None = None, failed: bool = False) -> None:
    spans.end(ended(recording(trace), latency, failed))
    spans.judge()


def test_every_request_is_counted_and_the_slow_failed_and_asked_for_are_kept() -> None:
    kept, counted, now = Kept(), Counted(), 0.0
    spans = Spans(counted, kept, clock=lambda: now)
    for number in range(2_000):
        now += 1.0
        end(spans, 1_000_000 + number * 7919 % 1_000)
    usual = len(kept.traces)
    assert usual < 200  # the first few, the slowest hundredth, and one in a thousand
    now += 10.0
    end(spans, 950_000, failed=True)
    end(spans, 950_000, TraceContext("a" * 32, 7, sampled=True))
    end(spans, 5_000_000)
    assert len(kept.traces) == usual + 3
    assert len(counted.requests) == 2_003
    failed, sampled, slow = [trace for _, trace in kept.traces[-3:]]
    assert failed[0].status != 0
    assert sampled[0].parent_id == 7
    assert slow[0].end == 5_000_000
    assert {span.name for span in slow} == {"query X 00000000", METHOD}


def test_only_the_id_of_a_kept_trace_is_counted() -> None:
    kept, counted = Kept(), Counted()
    spans = Spans(counted, kept, clock=lambda: 0.0)
    for _ in range(1_000):
        end(spans, 1_000_000, failed=True)
    assert sum(bool(request.trace_id) for request in counted.requests) == len(kept.traces)


def test_no_more_is_kept_than_ten_a_second() -> None:
    kept, now = Kept(), 0.0
    spans = Spans(Counted(), kept, clock=lambda: now)
    for _ in range(1_000):
        end(spans, 1_000_000, failed=True)
    assert len(kept.traces) == 50
    now = 1.0
    for _ in range(1_000):
        end(spans, 1_000_000, failed=True)
    assert len(kept.traces) == 60


def test_clients_who_ask_for_all_of_theirs_leave_room_for_the_failed() -> None:
    kept, now = Kept(), 0.0
    spans = Spans(Counted(), kept, clock=lambda: now)
    for _ in range(64):
        end(spans, 2_000_000)  # so that what comes is not slow
    now = 10.0
    kept.traces.clear()
    for _ in range(150):
        end(spans, 1_000_000, TraceContext("a" * 32, 7, sampled=True))
    asked_for = len(kept.traces)
    for _ in range(10):
        end(spans, 1_000_000, failed=True)
    assert 50 <= asked_for < 55  # some are sampled, too
    assert len(kept.traces) == asked_for + 10


async def test_a_request_is_reported_and_one_that_asks_for_it_is_kept_whole(
    stack: Stack, world: World, connect_as: Connect
) -> None:
    traces = connect_as(TracesServiceStub, await service_token(stack, "cli"))
    trace_id = uuid4().hex
    query = f"query Seen{trace_id} {SHOW}"
    response = await world.client.post({"query": query}, traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    assert "errors" not in response.json()

    operation = await reported(traces, f"query Seen{trace_id} ")
    assert operation.request_count == 1
    found = await kept_trace(traces, trace_id)
    assert found.summary.operation == operation.operation
    assert sum(share.duration_ns for share in found.shares) == found.summary.duration_ns
    assert {span.service for span in found.spans} == {"gateway", "auth", "agent_store", "vector_search", "graph"}
    calls = [span for span in found.spans if (span.service, span.kind) == ("gateway", "client")]
    called = [span.name.rpartition("/")[2] for span in calls]
    assert sorted(called) == ["BatchGetUsers", "BatchListExecutions", "BatchSearch", "BatchTraverse", "ListAgents"]


async def reported(traces: Any, prefix: str) -> pb.Operation:
    """The operation whose name begins so, as soon as the gateway has reported it."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            listed = await traces.ListOperations(pb.ListOperationsRequest())
            for operation in listed.operations:
                if operation.operation.startswith(prefix):
                    found: pb.Operation = operation
                    return found
            await asyncio.sleep(0.1)


async def kept_trace(traces: Any, trace_id: str) -> pb.GetTraceResponse:
    """The trace, which the exporter hands on a few seconds after it ended."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            try:
                found: pb.GetTraceResponse = await traces.GetTrace(pb.GetTraceRequest(trace_id=trace_id))
                return found
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.2)


async def test_a_request_that_is_refused_is_measured_and_kept_when_asked_for_too(
    stack: Stack, world: World, connect_as: Connect
) -> None:
    traces, trace_id = connect_as(TracesServiceStub, await service_token(stack, "cli")), uuid4().hex
    response = await world.client.post({"query": "{ nothing }"}, traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    assert response.json()["errors"][0]["extensions"]["traceId"] == trace_id
    found = await kept_trace(traces, trace_id)
    assert (found.summary.operation, found.summary.failed, found.incomplete) == ("refused", False, False)
