"""Two gateways count one operation: what the traces service adds up is what one that saw all would have said."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.json_format import MessageToDict

from benchmarks.load import Answer, Outcome, Plan, run
from deploy.local.demo import seed
from deploy.local.services import ROOT
from deploy.local.stack import Stack, say_nothing
from deploy.traces import client
from gateway.reports import Reports
from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.traces.attribution import Blame
from services.traces.histograms import Histogram
from services.traces.population import Population, Request
from tests.conftest import Connect, service_token
from tests.system import server_timing
from tests.system.beside import beside
from tests.system.drill import marks

QUERY = "{ agents(first: 1) { name owner { displayName } } }"
RATE, SECONDS, CONNECTIONS = 70.0, 23.0, 12
PERCENTILES = (50.0, 90.0, 99.0)
SLOW_OF = 20
"""One in so many requests to the second gateway is held back, so that the two see different populations."""
BUCKET = 0.03
ROUNDING = 2_000
"""Nanoseconds: `Server-Timing` is in microseconds."""
SETTLE_SECONDS = 30.0
REPORTED_SECONDS = 2.5
"""In which a gateway would have reported again."""
KILLED_SECONDS = 12.0
"""How long both are under load, one of which is killed some five seconds after the begin."""
INTERVALS = ("low_ns", "high_ns", "excess_low_ns", "excess_high_ns")
"""They are drawn anew for each answer."""


def _plan(url: str, query: str, **more: Any) -> Plan:
    return Plan(f"{url}/graphql", query, RATE, warm_up_seconds=0, connections=CONNECTIONS, **more)


def _held_back(number: int) -> Mapping[str, str]:
    held = "gateway" if number % SLOW_OF == 0 else "traversals"
    trace_id = marks.trace_id(number, held, {})
    return {"traceparent": f"00-{trace_id}-{number + 1:016x}-00", **server_timing.ASK}


def _into(requests: list[Request]) -> Callable[[Answer], None]:
    def hear(answer: Answer) -> None:
        assert answer.outcome == "ok"
        latency, shares = server_timing.latency_and_shares(answer.headers)
        requests.append(Request(latency, 1, shares))

    return hear


async def _counted(traces: Any, name: str, least: int) -> pb.Operation:
    """The operation of that name once at least so many requests of it are counted, and no more are to come."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            for operation in await client.operations(traces, 300):
                if operation.operation.startswith(f"query {name} ") and operation.request_count >= least:
                    await asyncio.sleep(REPORTED_SECONDS)
                    return operation
            await asyncio.sleep(0.2)


async def test_blame_is_that_of_one_gateway_fed_with_all(stack: Stack, connect_as: Connect, tmp_path: Path) -> None:
    await seed(stack, say_nothing)
    name = f"Two{uuid4().hex}"
    requests: list[Request] = []
    drill = {"PYTHONPATH": f"{Path(__file__).parent / 'drill'}:{ROOT}", "DRILLED": "gateway"}
    async with beside(stack, tmp_path, ["gateway"], {"gateway": drill}) as (second, _):
        usual = _plan(
            stack.gateway_url,
            f"query {name} {QUERY}",
            headers=lambda _: server_timing.ASK,
            seconds=SECONDS,
            heard=_into(requests),
        )
        slow = _plan(
            second.gateway_url, f"query {name} {QUERY}", headers=_held_back, seconds=SECONDS, heard=_into(requests)
        )
        await asyncio.gather(run(usual), run(slow))
        traces = connect_as(TracesServiceStub, await service_token(stack, "cli"))
        operation = (await _counted(traces, name, len(requests))).operation
        for percentile in PERCENTILES:
            _compare(await client.judge(traces, operation, percentile, 300), requests, percentile / 100)


def _compare(answer: pb.BlameResponse, requests: list[Request], quantile: float) -> None:
    whole = Histogram()
    for request in requests:
        whole.add(request)
    expected, exact = whole.blame(quantile, random=Random(4)), Population.of(requests)
    assert isinstance(expected, Blame)
    assert (answer.request_count, answer.tail_count) == (len(requests), expected.in_tail)
    assert answer.latency_ns == pytest.approx(exact.quantile(quantile), rel=BUCKET)
    assert answer.median_ns == pytest.approx(exact.quantile(0.5), rel=BUCKET)
    assert sum(part.duration_ns for part in answer.parts) == answer.latency_ns
    assert sum(part.excess_ns for part in answer.parts) == answer.latency_ns - answer.median_ns
    slack = BUCKET * answer.latency_ns + ROUNDING
    times = {part.label: (part.duration_ns, part.excess_ns) for part in answer.parts}
    assert {label for label, (time, _) in times.items() if time > slack} <= {share.label for share in expected.shares}
    for share in expected.shares:
        assert times.get(share.label, (0, 0)) == pytest.approx((share.time, share.excess), abs=slack)


def _requests(random: Random) -> list[Request]:
    """As a gateway may see them, with all that is counted of a request."""
    found = []
    for number in range(4_000):
        shares = {label: random.randrange(10_000_000) for label in random.sample(list(marks.LABELS), 4)}
        flags = random.random() < 0.1, random.random() < 0.1, random.randrange(2)
        calls = {label: random.randrange(1, 4) for label in shares}
        trace_id = f"{number + 1:032x}" if random.random() < 0.1 else ""
        found.append(Request(sum(shares.values()), 1, shares, calls, trace_id, *flags))
    return found


async def test_reports_of_two_add_up_to_exactly_that_of_one(stack: Stack, connect_as: Connect) -> None:
    random, name = Random(4), uuid4().hex
    reporter = connect_as(TracesServiceStub, await service_token(stack, "gateway"))
    first, second, all_in_one = Reports(reporter), Reports(reporter), Reports(reporter)
    for request in _requests(random):
        random.choice((first, second)).add(f"of two {name}", request)
        all_in_one.add(f"of one {name}", request)
    for reports in (first, second, all_in_one):
        await reports.send()
    traces = connect_as(TracesServiceStub, await service_token(stack, "cli"))
    for percentile in PERCENTILES:
        of_two, of_one = [await _fields(traces, f"{which} {name}", percentile) for which in ("of two", "of one")]
        assert of_two == of_one
        assert of_one["request_count"] == "4000"
        assert len(of_one["parts"]) == len(marks.LABELS)


async def _fields(traces: Any, operation: str, percentile: float) -> dict[str, Any]:
    answer = await client.judge(traces, operation, percentile, 300)
    fields = MessageToDict(answer, preserving_proto_field_name=True)
    assert fields.pop("operation") == operation
    for part in fields["parts"]:
        for end in INTERVALS:
            part.pop(end, None)
    return fields


async def test_a_gateway_that_is_killed_under_load_has_nothing_counted_twice(
    stack: Stack, connect_as: Connect, tmp_path: Path
) -> None:
    await seed(stack, say_nothing)
    traces = connect_as(TracesServiceStub, await service_token(stack, "cli"))
    lives, dies = f"Lives{uuid4().hex}", f"Dies{uuid4().hex}"
    heard = {lives: 0, dies: 0}

    def load(name: str, url: str, seconds: float) -> Coroutine[Any, Any, Outcome]:
        def hear(answer: Answer) -> None:
            heard[name] += answer.outcome == "ok"

        return run(_plan(url, f"query {name} {QUERY}", seconds=seconds, heard=hear))

    async with beside(stack, tmp_path, ["gateway"]) as (second, processes), asyncio.TaskGroup() as loads:
        for name, url in ((lives, stack.gateway_url), (dies, second.gateway_url)):
            loads.create_task(load(name, url, KILLED_SECONDS))
        reported = (await _counted(traces, dies, int(RATE))).request_count
        await processes["gateway"].kill()
        await asyncio.sleep(0.5)  # what was on its way has arrived
        before = heard[dies]
        await processes["gateway"].start()
        await load(dies, second.gateway_url, 1.0)
    after = heard[dies] - before
    assert after >= RATE
    assert (await _counted(traces, lives, heard[lives])).request_count == heard[lives]
    assert reported + after <= (await _counted(traces, dies, reported + after)).request_count <= heard[dies]
