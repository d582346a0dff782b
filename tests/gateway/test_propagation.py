"""W3C context through the gateway: what a client sends by HTTP or WebSocket is what a service gets."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from deploy.local.stack import Stack
from tests.gateway.clients import COLLABORATORS, World
from tests.gateway.running import Gateway, gateway

PARENT = "b7ad6b7169203331"
STATE, BAGGAGE = "congo=1,rojo=2", "user=ada,tier=gold"


class Overheard(grpc.GenericRpcHandler):
    """Stands where the graph service would be, and keeps the metadata of calls that it cannot answer."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, Any]] = []

    def service(self, details: grpc.HandlerCallDetails) -> None:
        self.metadata.append(dict(details.invocation_metadata))


@asynccontextmanager
async def overheard(stack: Stack, **settings: str) -> AsyncIterator[tuple[Gateway, Overheard]]:
    """A gateway whose calls to the graph are heard."""
    server, graph = grpc.aio.server(), Overheard()
    server.add_generic_rpc_handlers((graph,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with gateway(stack, GRAPH_TARGET=f"127.0.0.1:{port}", **settings) as running:
        yield running, graph
    await server.stop(None)


async def ask(running: Gateway, world: World, *headers: tuple[str, str]) -> httpx.Response:
    """For collaborators, which only the graph knows."""
    body = {"query": COLLABORATORS, "variables": {"id": world.agent_id}}
    given = [*world.client.authorization.items(), *headers]
    sent = [(name.encode(), value.encode("latin-1")) for name, value in given]
    return await running.client.http.post("/graphql", json=body, headers=sent)


def parent(trace_id: str, flags: str = "01") -> tuple[str, str]:
    return "traceparent", f"00-{trace_id}-{PARENT}-{flags}"


@pytest.mark.parametrize("flags", ["00", "01"])
async def test_a_service_gets_the_clients_context_by_http(stack: Stack, world: World, flags: str) -> None:
    trace_id = uuid4().hex
    pieces = (("tracestate", "congo=1"), ("tracestate", "rojo=2"), ("baggage", "user=ada"), ("baggage", "tier=gold"))
    async with overheard(stack) as (running, graph):
        response = await ask(running, world, parent(trace_id, flags), *pieces)
    [got] = graph.metadata
    assert (got["tracestate"], got["baggage"], got["x-spans"]) == (STATE, BAGGAGE, "1")
    version, trace, span, sampled = got["traceparent"].split("-")
    assert (version, trace, sampled) == ("00", trace_id, flags)
    assert span != PARENT  # the gateway's own client span is between
    assert response.headers["traceresponse"].split("-")[1] == trace_id


async def test_what_came_without_need_not_go_on(stack: Stack, world: World) -> None:
    async with overheard(stack) as (running, graph):
        await ask(running, world)
        await ask(running, world, parent(uuid4().hex), ("tracestate", "a=" + "x" * 600), ("baggage", "b=\u00e9"))
        await ask(running, world, parent("1" * 32), parent("2" * 32))
    assert not any({"tracestate", "baggage"} & got.keys() for got in graph.metadata)
    assert graph.metadata[2]["traceparent"].split("-")[1] not in ("1" * 32, "2" * 32)  # two parents are none


async def test_baggage_stays_outside_where_propagators_say_so(stack: Stack, world: World) -> None:
    async with overheard(stack, OTEL_PROPAGATORS="tracecontext") as (running, graph):
        await ask(running, world, parent(uuid4().hex), ("tracestate", STATE), ("baggage", BAGGAGE))
    [got] = graph.metadata
    assert got["tracestate"] == STATE
    assert "baggage" not in got


async def test_a_service_gets_the_clients_context_by_websocket(stack: Stack, world: World) -> None:
    trace_id = uuid4().hex
    extensions = {"traceparent": parent(trace_id)[1], "tracestate": STATE, "baggage": BAGGAGE}
    payload = {"query": COLLABORATORS, "variables": {"id": world.agent_id}, "extensions": extensions}
    async with (
        overheard(stack) as (running, graph),
        connect(running.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None) as socket,
    ):
        hello = {"type": "connection_init", "payload": {"Authorization": f"Bearer {world.client.token}"}}
        for message in (hello, {"id": "1", "type": "subscribe", "payload": payload}):
            await socket.send(json.dumps(message))
            await socket.recv()
    [got] = graph.metadata
    assert (got["traceparent"].split("-")[1], got["tracestate"], got["baggage"]) == (trace_id, STATE, BAGGAGE)
