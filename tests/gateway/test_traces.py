"""Blame and traces by GraphQL, which only operators may read."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from tests.conftest import service_token
from tests.gateway.clients import SETTLE_SECONDS, Client, World
from tests.gateway.test_queries import SHOW
from tests.gateway.transports.test_websocket import socket

BLAME = """
query ($operation: String, $percentile: Float! = 99, $window: Int! = 300) {
  latencyBlame(operation: $operation, percentile: $percentile, window: $window) {
    operation requestCount tailCount latencyNs medianNs tailNs coveragePercent errorPercent
    incompleteCount ambiguousCount droppedCount slowestTraceId typicalTraceId
    parts { label durationNs lowNs highNs excessNs excessLowNs excessHighNs tailNs calls perCallNs }
  }
}
"""
OPERATIONS = """
query ($window: Int! = 300, $first: Int! = 200) {
  latencyOperations(window: $window, first: $first) {
    operation requestCount p50Ns p95Ns p99Ns
    shares { label durationNs } medianShares { label durationNs }
  }
}
"""
TRACE = """
query ($id: ID!) {
  trace(id: $id) {
    id operation startTime durationNs failed incomplete
    spans { id parentId service name kind startNs endNs failed statusMessage criticalNs label attributes }
    shares { label durationNs } sections { spanId startNs endNs label }
    logs { time service severity text attributes spanId }
  }
}
"""
REQUESTS = 80
"""At P50 so many leave more than 30 beyond it."""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def operator(stack: Stack, stranger: Client) -> Client:
    """A service's identity, which belongs to no organization."""
    return Client(stranger.http, await service_token(stack, "cli"))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def asked(world: World, operator: Client) -> tuple[str, str]:
    """The name of an operation that was asked for often, and the id of a trace of it that was to be kept."""
    trace_id = uuid4().hex
    name = f"Asked{trace_id}"
    query = f"query {name} {SHOW}"
    await world.client.post({"query": query}, traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    for _ in range(REQUESTS // 8 - 1):
        await asyncio.gather(*(world.client.data(query) for _ in range(8)))
    await settled(operator, name, REQUESTS - 7, trace_id)
    return await operation(operator, name), trace_id


async def settled(operator: Client, name: str, requests: int, trace_id: str) -> None:
    """Return when the traces service has heard of all that."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            if "errors" not in await operator.answer(TRACE, id=trace_id) and await counted(operator, name) >= requests:
                return
            await asyncio.sleep(0.1)


async def listed(operator: Client, name: str) -> list[dict[str, Any]]:
    operations = (await operator.data(OPERATIONS))["latencyOperations"]
    return [one for one in operations if one["operation"].startswith(f"query {name} ")]


async def counted(operator: Client, name: str) -> int:
    return sum(one["requestCount"] for one in await listed(operator, name))


async def operation(operator: Client, name: str) -> str:
    [found] = await listed(operator, name)
    label: str = found["operation"]
    return label


def total(parts: list[dict[str, Any]], key: str) -> int:
    return sum(part[key] for part in parts)


async def test_blame_sums_to_the_nanosecond(operator: Client, asked: tuple[str, str]) -> None:
    blame = (await operator.data(BLAME, operation=asked[0], percentile=50))["latencyBlame"]
    assert blame["operation"] == asked[0]
    assert blame["requestCount"] == REQUESTS - 7
    assert {"gateway", "graph/neo4j", "agent_store/postgres"} <= {part["label"] for part in blame["parts"]}
    assert total(blame["parts"], "durationNs") == blame["latencyNs"] > 0
    assert total(blame["parts"], "excessNs") == blame["latencyNs"] - blame["medianNs"]
    assert total(blame["parts"], "tailNs") == blame["tailNs"]


async def test_a_tail_that_is_too_small_names_nobody(operator: Client, asked: tuple[str, str]) -> None:
    blame = (await operator.data(BLAME, operation=asked[0]))["latencyBlame"]
    assert blame["parts"] == []
    assert blame["tailCount"] < 30


async def test_no_operation_stands_for_all(operator: Client, asked: tuple[str, str]) -> None:
    blame = (await operator.data(BLAME, percentile=50))["latencyBlame"]
    assert blame["operation"] is None
    assert blame["requestCount"] >= REQUESTS - 7


async def test_operations_come_with_their_percentiles_the_most_frequent_first(
    operator: Client, asked: tuple[str, str]
) -> None:
    operations = (await operator.data(OPERATIONS))["latencyOperations"]
    counts = [one["requestCount"] for one in operations]
    assert counts == sorted(counts, reverse=True)
    [found] = [one for one in operations if one["operation"] == asked[0]]
    assert 0 < found["p50Ns"] <= found["p95Ns"] <= found["p99Ns"]
    assert total(found["shares"], "durationNs") == found["p99Ns"]
    assert total(found["medianShares"], "durationNs") == found["p50Ns"]
    assert len((await operator.data(OPERATIONS, first=1))["latencyOperations"]) == 1


async def test_a_trace_is_whole_and_its_sections_tile_it(operator: Client, asked: tuple[str, str]) -> None:
    trace = (await operator.data(TRACE, id=asked[1].upper()))["trace"]
    assert (trace["id"], trace["operation"], trace["failed"]) == (asked[1], asked[0], False)
    assert {span["service"] for span in trace["spans"]} == {"gateway", "auth", "agent_store", "vector_search", "graph"}
    assert total(trace["shares"], "durationNs") == trace["durationNs"]
    assert total(trace["spans"], "criticalNs") == trace["durationNs"]
    starts = [section["startNs"] for section in trace["sections"]]
    ends = [section["endNs"] for section in trace["sections"]]
    assert [*starts, trace["durationNs"]] == [0, *ends]
    assert {span["parentId"] for span in trace["spans"][1:]} <= {span["id"] for span in trace["spans"]}
    [statement] = [span for span in trace["spans"] if span["name"] == "SELECT agents"]
    assert (statement["kind"], statement["label"]) == ("postgres", "agent_store/postgres")
    assert statement["attributes"]


QUERIES: list[tuple[str, dict[str, Any]]] = [(BLAME, {}), (OPERATIONS, {}), (TRACE, {"id": "0" * 32})]


@pytest.mark.parametrize(("query", "variables"), QUERIES)
async def test_only_operators_may_ask(
    world: World, stranger: Client, stack: Stack, query: str, variables: dict[str, Any]
) -> None:
    """Not the owner of an organization, not the anonymous caller of the demo, and no other service."""
    other = Client(stranger.http, await service_token(stack, "gateway"))
    for caller in (world.client, stranger, other):
        error = await caller.error(query, **variables)
        assert error["extensions"]["code"] == "FORBIDDEN"
        assert error["extensions"]["reason"] == "PERMISSION_MISSING"


async def test_an_operator_belongs_to_no_organization(operator: Client) -> None:
    error = await operator.error("{ agents { id } }")
    assert error["extensions"]["code"] == "FORBIDDEN"


async def test_an_operator_may_ask_over_websocket(stack: Stack, operator: Client, asked: tuple[str, str]) -> None:
    async with socket(stack) as client:
        await client.init(operator)
        await client.send({"id": "1", "type": "subscribe", "payload": {"query": TRACE, "variables": {"id": asked[1]}}})
        answer = (await client.receive())["payload"]
    assert answer["data"]["trace"]["id"] == asked[1]


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (BLAME, {"operation": "query Nobody 00000000"}, "NOT_FOUND"),
    (TRACE, {"id": "0" * 32}, "NOT_FOUND"),
    (TRACE, {"id": "no trace id"}, "NOT_FOUND"),
    (BLAME, {"percentile": 0}, "BAD_USER_INPUT"),
    (BLAME, {"percentile": 100}, "BAD_USER_INPUT"),
    (BLAME, {"window": 0}, "BAD_USER_INPUT"),
    (BLAME, {"window": -1}, "BAD_USER_INPUT"),
    (OPERATIONS, {"window": 86_401}, "BAD_USER_INPUT"),
    (OPERATIONS, {"first": 0}, "BAD_USER_INPUT"),
]


@pytest.mark.parametrize(("query", "variables", "code"), WRONG)
async def test_what_cannot_be_answered(operator: Client, query: str, variables: dict[str, Any], code: str) -> None:
    body = await operator.answer(query, **variables)
    assert [error["extensions"]["code"] for error in body["errors"]] == [code]
    assert list(body["data"].values()) == [None]


async def test_lists_of_a_trace_are_as_long_as_asked_for(operator: Client, asked: tuple[str, str]) -> None:
    query = "query ($id: ID!) { trace(id: $id) { spans(first: 2) { id } shares(first: 1) { label } } }"
    trace = (await operator.data(query, id=asked[1]))["trace"]
    assert (len(trace["spans"]), len(trace["shares"])) == (2, 1)
