"""A service that is gone: what is said of it, what is still answered, and how it comes back by itself."""

import asyncio

from deploy.local.stack import Stack
from tests.gateway.clients import SETTLE_SECONDS, Client, World, make_agent, register
from tests.gateway.test_queries import SHOW
from tests.gateway.transports.test_websocket import socket


async def until_ready(client: Client) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            if (await client.http.get("/ready")).status_code == 200:
                return
            await asyncio.sleep(0.1)


async def test_ready_names_every_service(stranger: Client) -> None:
    response = await stranger.http.get("/ready")
    assert response.status_code == 200
    states = response.json()["services"]
    assert states == dict.fromkeys(("auth", "agent_store", "vector_search", "graph"), "serving")


async def test_without_the_graph_everything_else_is_answered(stack: Stack, world: World) -> None:
    client = world.client
    whole = (await client.data(SHOW))["agents"]
    await stack.kill("graph")
    try:
        body = await client.answer(SHOW)
        assert body["data"]["agents"] == [{**agent, "collaborators": None} for agent in whole]
        assert [error["path"] for error in body["errors"]] == [["agents", at, "collaborators"] for at in range(2)]
        for error in body["errors"]:
            assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE"
            assert error["extensions"]["service"] == "graph"

        ready = await client.http.get("/ready")
        assert ready.status_code == 503
        assert {service for service, state in ready.json()["services"].items() if state != "serving"} == {"graph"}
        assert (await client.http.get("/health")).status_code == 200
    finally:
        await stack.start("graph")
    await until_ready(client)
    assert (await client.data(SHOW))["agents"] == whole


async def test_without_the_agent_store_there_is_a_typed_error_and_no_data(stack: Stack, world: World) -> None:
    query = "{ agents { name } collections { name } }"
    await stack.kill("agent_store")
    try:
        body = await world.client.answer(query)
        assert body["data"] is None  # agents may not be null
        assert [error["extensions"]["service"] for error in body["errors"]] == ["agent_store"]
        assert await world.client.data("{ collections { name } }") == {"collections": [{"name": "docs"}]}
    finally:
        await stack.start("agent_store")
    await until_ready(world.client)
    assert len((await world.client.data(query))["agents"]) == 2


async def test_sockets_hear_of_changes_again_when_redis_is_back(stack: Stack, world: World) -> None:
    owner, *_ = await register(Client(world.client.http))
    async with socket(stack) as client:
        await client.following(owner)
        await stack.kill("valkey")
        agent_id = await make_agent(owner, name="Made without Redis")
        await stack.start("valkey")
        change = (await client.receive())["payload"]["data"]["agentChanged"]
    assert (change["type"], change["agentId"]) == ("CREATED", agent_id)
