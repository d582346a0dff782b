"""graphql-transport-ws, message by message, and agentChanged over it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from deploy.local.stack import Stack
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.runtime.channels import connect as connect_channel
from services.runtime.channels import no_token
from tests.gateway.clients import PASSWORD, Client, World, make_agent, register
from tests.gateway.running import Gateway, gateway, listening

PROTOCOL = Subprotocol("graphql-transport-ws")
INIT = {"type": "connection_init"}
QUERY = {"id": "1", "type": "subscribe", "payload": {"query": "{ __typename }"}}
CHANGES = """
subscription ($id: ID) {
  agentChanged(id: $id) { type agentId revision changeTime agent { name owner { displayName } } }
}
"""
UPDATE = "mutation ($input: UpdateAgentInput!) { updateAgent(input: $input) { etag } }"


class Socket:
    """A client that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, *messages: Any) -> None:
        for message in messages:
            await self._connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(15):
            message: dict[str, Any] = json.loads(await self._connection.recv())
        return message

    async def init(self, client: Client) -> None:
        await self.send({**INIT, "payload": {"Authorization": f"Bearer {client.token}"}})
        assert (await self.receive())["type"] == "connection_ack"

    async def closed_with(self) -> int:
        """The code that the server closes with; what it says before that does not matter."""
        async with asyncio.timeout(15):
            await self._connection.wait_closed()
        code = self._connection.close_code
        assert code is not None
        return code

    async def following(self, client: Client, agent_id: str | None = None) -> None:
        """Subscribe, and return when changes that are made from now on will come."""
        await self.init(client)
        payload = {"query": CHANGES, "variables": {"id": agent_id}}
        await self.send({"id": "changes", "type": "subscribe", "payload": payload})
        await asyncio.sleep(0.5)  # the protocol has no answer to `subscribe`


@asynccontextmanager
async def socket(at: Stack | Gateway, **headers: str) -> AsyncIterator[Socket]:
    url = at.url if isinstance(at, Gateway) else at.gateway_url
    address = url.replace("http", "ws") + "/graphql"
    async with connect(address, subprotocols=[PROTOCOL], additional_headers=headers, proxy=None) as connection:
        yield Socket(connection)


CLOSED: list[tuple[str, list[Any], int]] = [
    ("no JSON", ["{"], 4400),
    ("no object", ["[]"], 4400),
    ("no text", [b"\x00\xff"], 4400),
    ("no type", [{}], 4400),
    ("unknown type", [{"type": "start"}], 4400),
    ("subscribe without id", [INIT, {**QUERY, "id": ""}], 4400),
    ("subscribe with a number as id", [INIT, {**QUERY, "id": 1}], 4400),
    ("subscribe without payload", [INIT, {"id": "1", "type": "subscribe"}], 4400),
    ("subscribe without query", [INIT, {**QUERY, "payload": {}}], 4400),
    ("complete without id", [INIT, {"type": "complete"}], 4400),
    ("subscribe before init", [QUERY], 4401),
    ("a token that is none", [{**INIT, "payload": {"Authorization": "Bearer nonsense"}}], 4403),
    ("a header that is none", [{**INIT, "payload": {"authorization": "nonsense"}}], 4403),
    ("init twice", [INIT, INIT], 4429),
]


@pytest.mark.parametrize(("messages", "code"), [case[1:] for case in CLOSED], ids=[case[0] for case in CLOSED])
async def test_what_is_against_the_protocol_closes_the_socket(stack: Stack, messages: list[Any], code: int) -> None:
    async with socket(stack) as client:
        await client.send(*messages)
        assert await client.closed_with() == code


async def test_an_id_is_taken_while_its_operation_runs(stack: Stack, world: World) -> None:
    async with socket(stack) as client:
        await client.following(world.client)
        await client.send({**QUERY, "id": "changes"})
        assert await client.closed_with() == 4409


@pytest.mark.parametrize("protocol", [None, Subprotocol("graphql-ws")])
async def test_another_subprotocol_is_not_spoken(stack: Stack, protocol: Subprotocol | None) -> None:
    url = stack.gateway_url.replace("http", "ws") + "/graphql"
    async with connect(url, additional_headers={"sec-websocket-protocol": protocol or "x"}, proxy=None) as connection:
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 4406


async def test_ping_is_answered_at_any_time_with_its_payload(stack: Stack) -> None:
    async with socket(stack) as client:
        await client.send({"type": "ping"})
        assert await client.receive() == {"type": "pong"}
        await client.send(INIT, {"type": "pong"}, {"type": "ping", "payload": {"n": 1}})
        assert [await client.receive() for _ in range(2)] == [
            {"type": "connection_ack"},
            {"type": "pong", "payload": {"n": 1}},
        ]


async def test_queries_and_mutations_are_answered_once(stack: Stack, world: World) -> None:
    async with socket(stack) as client:
        await client.init(world.client)
        query = {"query": "query ($id: ID!) { agent(id: $id) { name } }", "variables": {"id": world.agent_id}}
        await client.send({"id": "a", "type": "subscribe", "payload": query})
        assert await client.receive() == {
            "id": "a",
            "type": "next",
            "payload": {"data": {"agent": {"name": "Librarian"}}},
        }
        assert await client.receive() == {"id": "a", "type": "complete"}
        await client.send({"id": "a", "type": "subscribe", "payload": {"query": "{ nothing }"}})
        error = await client.receive()
        assert (error["id"], error["type"]) == ("a", "error")
        assert error["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_a_token_may_come_with_the_handshake(stack: Stack, world: World) -> None:
    async with socket(stack, authorization=f"Bearer {world.client.token}") as client:
        await client.send(INIT, {**QUERY, "payload": {"query": "{ me { user { id } } }"}})
        assert (await client.receive())["type"] == "connection_ack"
        answer = await client.receive()
        assert answer["payload"] == {"data": {"me": {"user": {"id": world.user_id}}}}


async def test_operations_of_one_socket_run_side_by_side(stack: Stack, world: World) -> None:
    async with socket(stack) as client:
        await client.following(world.client)
        await client.send({**QUERY, "id": "quick"})
        assert (await client.receive())["id"] == "quick"


async def test_limits_hold_on_a_socket_too(stack: Stack, world: World) -> None:
    async with socket(stack) as client:
        await client.init(world.client)
        deep = "{ agents { latestVersion { " + "agent { latestVersion { " * 10 + "number" + " } }" * 10 + " } } }"
        await client.send({"id": "deep", "type": "subscribe", "payload": {"query": deep}})
        assert (await client.receive())["payload"][0]["extensions"]["reason"] == "DEPTH"
        for number in range(101):
            await client.send({"id": str(number), "type": "subscribe", "payload": {"query": CHANGES}})
        refused = await client.receive()
        assert refused["payload"][0]["extensions"]["reason"] == "SOCKET_OPERATIONS"


async def test_a_change_made_through_the_api_is_told(stack: Stack, stranger: Client) -> None:
    owner, *_ = await register(stranger)
    async with socket(stack) as client:
        await client.following(owner)
        agent_id = await make_agent(owner, name="Born")
        await owner.data(UPDATE, input={"id": agent_id, "name": "Grown"})
        created, updated = [(await client.receive())["payload"]["data"]["agentChanged"] for _ in range(2)]
    assert (created["type"], created["agentId"]) == ("CREATED", agent_id)
    assert (updated["type"], updated["agent"]) == ("UPDATED", {"name": "Grown", "owner": {"displayName": "Ada"}})
    assert updated["revision"] > created["revision"]
    assert updated["changeTime"] >= created["changeTime"]


async def test_only_the_agent_that_was_asked_for_is_told_of(stack: Stack, stranger: Client) -> None:
    owner, *_ = await register(stranger)
    followed, other = [await make_agent(owner, name=name) for name in ("Followed", "Other")]
    async with socket(stack) as client:
        await client.following(owner, followed)
        for agent_id in (other, followed):
            await owner.data(UPDATE, input={"id": agent_id, "description": "changed"})
        assert (await client.receive())["payload"]["data"]["agentChanged"]["agentId"] == followed


async def test_a_subscriber_hears_nothing_of_another_tenant(stack: Stack, stranger: Client) -> None:
    owner, *_ = await register(stranger)
    neighbor, *_ = await register(stranger)
    async with socket(stack) as client:
        await client.following(owner)
        await make_agent(neighbor, name="Secret")
        await make_agent(owner, name="Own")
        assert (await client.receive())["payload"]["data"]["agentChanged"]["agent"]["name"] == "Own"


async def test_a_completed_subscription_is_over(stack: Stack, stranger: Client) -> None:
    owner, *_ = await register(stranger)
    async with socket(stack) as client:
        await client.following(owner)
        await client.send({"id": "changes", "type": "complete"})
        await make_agent(owner, name="Unheard")
        await client.send({"type": "ping"})
        assert await client.receive() == {"type": "pong"}
        await client.send(QUERY | {"id": "changes"})
        assert (await client.receive())["payload"] == {"data": {"__typename": "Query"}}


async def test_many_subscribers_share_one_reader(stack: Stack, stranger: Client) -> None:
    owner, *_ = await register(stranger)
    async with socket(stack) as first, socket(stack) as second:
        await first.following(owner)
        await second.following(owner)
        agent_id = await make_agent(owner, name="Seen by both")
        for client in (first, second):
            assert (await client.receive())["payload"]["data"]["agentChanged"]["agentId"] == agent_id


async def test_who_does_not_begin_is_sent_away(stack: Stack) -> None:
    async with gateway(stack, SOCKET_INIT_SECONDS="0.3") as one, socket(one) as client:
        await client.send({"type": "ping"})
        assert await client.closed_with() == 4408


async def test_without_a_token_a_socket_is_anonymous_or_closed(stack: Stack) -> None:
    async with socket(stack) as client:
        await client.send(INIT, {**QUERY, "payload": {"query": "{ agents { id } }"}})
        assert (await client.receive())["type"] == "connection_ack"
        assert "errors" not in (await client.receive())["payload"]
    async with gateway(stack, ANONYMOUS_ACCESS="false") as one, socket(one) as client:
        await client.send(INIT)
        assert await client.closed_with() == 4401


async def test_a_socket_closes_when_its_token_ends(stack: Stack, world: World) -> None:
    environment = {**stack.environment("auth"), "ACCESS_TOKEN_SECONDS": "10"}  # the least that auth allows
    async with (
        listening("services.auth", environment) as (_, address),
        connect_channel(address, no_token, None) as channel,
    ):
        log_in = auth_pb2.LogInRequest(email=world.email, password=PASSWORD)
        token = (await AuthServiceStub(channel).LogIn(log_in)).access_token.token
    async with socket(stack) as client:
        await client.following(Client(world.client.http, token))
        assert await client.closed_with() == 4403
