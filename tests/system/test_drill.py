"""The blame drill: whoever is slow in 2 % of requests is named, and whoever is slow in half of them unseen is not.

One load serves all rows. The gateway holds one of six parallel branches back for 120 ms in each request. In the
innocent ones that is a branch of its own, and every other label is slow by 30 ms in half of them, unseen. In the guilty
ones of a row it is the branch of the row's label, which then is slow by 40 ms, while half of the others are by 30.
A row is made of all the innocent requests and its own guilty ones, 2 %; their times are what the gateway says of each.
Nobody told the machine to be slow: the slowest requests of each kind are left out, by nothing but their latency, and
the load goes on until enough are left.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio

from benchmarks.load import Plan, run
from deploy.local.demo import seed
from deploy.local.services import ROOT
from deploy.local.stack import Stack, say_nothing
from deploy.traces import client
from gateway.reports import Reports
from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.traces.population import Request
from tests.conftest import Connect, service_token
from tests.system.beside import beside
from tests.system.drill import marks, naive
from tests.system.drill.cases import GUILTY, INNOCENT, MS, SLOW, Case, Drill, round_of

MOST_ROUNDS = 12
"""Where the machine is busy with something else all the time, there is nothing to be seen."""
RATE, WARM_UP_SECONDS, CONNECTIONS = 55.0, 5.0, 12
NOTHING = 10 * MS
"""Far below what whoever counts the unseen delays gives to each of them; what is above zero is the machine's."""
SETTLE_SECONDS = 60.0
PROCESSES = ("auth", "agent_store", "vector_search", "graph", "gateway")
QUERY = """query Drill { agents(first: 1) {
    owner { displayName }
    executions(first: 1) { status }
    knowledge(query: "how do I catch an exception", first: 1) { text }
    collaborators(depth: 1) { name }
} }"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def drilled(stack: Stack, connect_as: Connect, tmp_path_factory: Any) -> Drill:
    """The load, done."""
    await seed(stack, say_nothing)
    path = f"{Path(__file__).parent / 'drill'}:{ROOT}"
    more = {name: {"PYTHONPATH": path, "DRILLED": name} for name in PROCESSES}
    async with beside(stack, tmp_path_factory.mktemp("drill"), PROCESSES, more) as (addresses, _):
        url = f"{addresses.gateway_url}/graphql"
        await run(Plan(url, QUERY, RATE, WARM_UP_SECONDS, warm_up_seconds=0))
        done = await _drill(url)
    await _keep(connect_as(TracesServiceStub, await service_token(stack, "cli")), done)
    return done


async def _drill(url: str) -> Drill:
    done, random, rounds = Drill(), Random(4), 0
    while not done.is_enough():
        rounds += 1
        assert rounds <= MOST_ROUNDS, "this machine is hardly ever calm: nobody could be blamed for what is slow here"
        await _ask(url, done, round_of(random))
    return done


async def _ask(url: str, done: Drill, cases: Sequence[Case]) -> None:
    first = len(done.cases)
    done.cases += cases
    plan = Plan(
        url,
        QUERY,
        RATE,
        seconds=(len(cases) - 0.5) / RATE,
        warm_up_seconds=0,
        connections=CONNECTIONS,
        headers=lambda number: done.headers(first + number),
        heard=lambda answer: done.hear(first + answer.number, answer),
    )
    await run(plan)


async def _keep(traces: Any, done: Drill) -> None:
    """Fetch most of the traces that asked to be kept, once they are there. The gateway keeps ten a second."""
    wanted = {number for number in range(len(done.cases)) if done.is_sampled(number)}
    async with asyncio.timeout(SETTLE_SECONDS):
        while len(done.own_times) < 0.8 * len(wanted):
            for number in wanted - done.own_times.keys():
                with suppress(grpc.aio.AioRpcError):
                    trace = await traces.GetTrace(pb.GetTraceRequest(trace_id=done.trace_id(number)))
                    done.own_times[number] = naive.own_times(trace)
            await asyncio.sleep(0.5)


async def _judged(stack: Stack, connect_as: Connect, operation: str, requests: Iterable[Request]) -> pb.BlameResponse:
    reports = Reports(connect_as(TracesServiceStub, await service_token(stack, "gateway")))
    for request in requests:
        reports.add(operation, request)
    await reports.send()
    traces = connect_as(TracesServiceStub, await service_token(stack, "cli"))
    return await client.judge(traces, operation, 99.0, 300)


@pytest.mark.parametrize("label", marks.LABELS)
async def test_blame_names_the_guilty_and_gives_the_hidden_nothing(
    stack: Stack, connect_as: Connect, drilled: Drill, label: str
) -> None:
    answer = await _judged(stack, connect_as, f"drill {label} {uuid4()}", drilled.row(label))
    assert (answer.request_count, answer.tail_count) == (INNOCENT + GUILTY, 30)
    assert sum(part.duration_ns for part in answer.parts) == answer.latency_ns
    assert sum(part.excess_ns for part in answer.parts) == answer.latency_ns - answer.median_ns
    excess = {part.label: part.excess_ns for part in answer.parts}
    assert max(excess, key=lambda name: excess[name]) == label
    assert 0.75 * SLOW * MS <= excess[label] <= 1.5 * SLOW * MS
    hidden = {name for name, branch in marks.LABELS.items() if branch != marks.LABELS[label]}
    assert {name: excess[name] for name in hidden & excess.keys() if excess[name] > NOTHING} == {}
    surely_more = {part.label for part in answer.parts if part.excess_low_ns > NOTHING}
    assert label in surely_more
    assert not surely_more & hidden


def test_whoever_takes_each_service_by_itself_is_misled(drilled: Drill) -> None:
    """By the same requests: who takes most of the time says nothing of the slow ones, and what is hidden is blamed."""
    right = 0
    for label in marks.LABELS:
        means, tails = naive.means(drilled.traces(label)), naive.tails(drilled.traces(label))
        right += max(marks.LABELS, key=lambda name: means[name]) == label
        assert {name for name in marks.LABELS if name not in ("gateway", label) and tails[name] < NOTHING} == set()
    assert right < len(marks.LABELS) / 2
