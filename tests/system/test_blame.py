"""Blame is right about a delay that was put there: the label moves by what was injected, and only that label."""

import asyncio
import itertools
from typing import Any

import pytest

from benchmarks.load import Plan, run
from benchmarks.scenarios import DEMO
from deploy.local.demo import seed
from deploy.local.postgres import OWNER
from deploy.local.stack import Stack, say_nothing
from deploy.traces import client
from neurectomy.traces.v1 import traces_pb2 as pb
from tests.services.vector_search.injection import slow_search

MS = 1_000_000
INJECTED = 50 * MS
SLACK = 3 * MS
RATE, SECONDS = 20.0, 10.0
LABEL = "vector_search/postgres"


async def _loaded(stack: Stack, name: str, seconds: float = SECONDS) -> None:
    query = f"query {name} {DEMO.strip()}"
    plan = Plan(f"{stack.gateway_url}/graphql", query, RATE, seconds, warm_up_seconds=1, connections=16)
    outcome = await run(plan)
    assert outcome.errors == 0, outcome.answers
    await asyncio.sleep(2.5)  # the gateway reports every second


async def _judged(traces: Any, name: str, percentile: float) -> pb.BlameResponse:
    (operation,) = [
        one.operation for one in await client.operations(traces, 300) if one.operation.startswith(f"query {name} ")
    ]
    return await client.judge(traces, operation, percentile, 300)


async def test_an_injected_delay_is_owed_by_its_statement_and_by_nothing_else(stack: Stack) -> None:
    """The first delay may also bring the rest of its branch onto the critical path; the second adds itself alone."""
    await seed(stack, say_nothing)
    await _loaded(stack, "WarmUp", seconds=3.0)
    await _loaded(stack, "Undisturbed")
    for name, delay in (("Delayed", INJECTED), ("DelayedTwice", 2 * INJECTED)):
        async with slow_search(stack.database_url(OWNER), delay // MS):
            await _loaded(stack, name)
    async with client.traces(client.local(stack.state.path)) as traces:
        for percentile in (50.0, 80.0):
            for name in ("Undisturbed", "Delayed", "DelayedTwice"):
                _check_sums(await _judged(traces, name, percentile))
        judged = [await _judged(traces, name, 50.0) for name in ("Undisturbed", "Delayed", "DelayedTwice")]
    first, second = itertools.starmap(_moved, itertools.pairwise(judged))
    assert max(first, key=lambda label: first[label]) == LABEL
    assert first[LABEL] >= INJECTED - SLACK
    assert second.pop(LABEL) == pytest.approx(INJECTED, abs=SLACK)
    assert {label: change for label, change in second.items() if change > SLACK} == {}


def _check_sums(answer: pb.BlameResponse) -> None:
    assert sum(part.duration_ns for part in answer.parts) == answer.latency_ns
    assert sum(part.excess_ns for part in answer.parts) == answer.latency_ns - answer.median_ns
    assert sum(part.tail_ns for part in answer.parts) == answer.tail_ns


def _moved(before: pb.BlameResponse, after: pb.BlameResponse) -> dict[str, int]:
    moved = {part.label: part.duration_ns for part in after.parts}
    for part in before.parts:
        moved[part.label] = moved.get(part.label, 0) - part.duration_ns
    return moved
