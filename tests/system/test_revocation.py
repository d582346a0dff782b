"""A session ends while its client asks: refused everywhere, at once where Redis is there, and before long where not.

How long it took is printed; a busy machine fails nothing below several times of what is promised.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import jwt
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from deploy.local.stack import Stack
from neurectomy.agent_store.v1 import agent_store_pb2
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.auth.revocations import Revocations, of_member, of_session
from services.runtime import postgres
from services.runtime.postgres import Database, Statements
from services.runtime.redis import connect as connect_redis
from services.runtime.revocations import COMPLETE, PAUSE_SECONDS, Revocation
from services.runtime.verifier import CACHE_SECONDS
from tests.conftest import Connect, Tenant, register
from tests.system.doors import DOORS, OK, PROTOCOL, QUERY

PROMISED_SECONDS = 1.0
ASKED_AGAIN_SECONDS = 0.02
PATIENCE = 5.0
"""Times what is promised: whoever shares this machine may take that long."""
REFUSED = {"TOKEN_REVOKED", "4403"}

END_SESSION = "UPDATE sessions SET ended_at = now(), end_reason = 'test' WHERE session_id = $1"
CHANGE_ROLE = (
    "UPDATE memberships SET version = version + 1 WHERE organization_id = $1 AND user_id = $2 RETURNING version"
)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def database(stack: Stack) -> AsyncIterator[Database]:
    async with postgres.connect(stack.database_url("auth"), init=postgres.jsonb_as_objects) as database:
        yield database


@pytest_asyncio.fixture(loop_scope="session")
async def client(connect_as: Connect) -> Tenant:
    return await register(connect_as)


def session_of(tenant: Tenant) -> UUID:
    return UUID(jwt.decode(tenant.token, options={"verify_signature": False})["sid"])


async def _end_session(statements: Statements, tenant: Tenant) -> Revocation:
    await statements.execute("end session", END_SESSION, session_of(tenant))
    return of_session(tenant.organization_id, session_of(tenant))


async def _change_role(statements: Statements, tenant: Tenant) -> Revocation:
    user_id = UUID(tenant.user_id)
    row = await statements.fetchrow("change role", CHANGE_ROLE, tenant.organization_id, user_id)
    assert row is not None
    return of_member(tenant.organization_id, user_id, row["version"])


FOLLOW = "subscription { agentChanged { agentId } }"

Deed = Callable[[Statements, Tenant], Awaitable[Revocation]]
DEEDS: dict[str, Deed] = {"its session ends": _end_session, "its role changes": _change_role}


async def revoke(database: Database, tenant: Tenant, deed: Deed = _end_session) -> None:
    async with database.tenant(tenant.organization_id) as statements:
        await Revocations(600).revoke(statements, await deed(statements, tenant))


async def asked_until_refused(stack: Stack, tenant: Tenant) -> dict[str, float]:
    """By door, when it refused the client that went on asking."""

    async def refused(door: str) -> float:
        while (said := await DOORS[door](stack, tenant.token)) == OK:  # noqa: ASYNC110 - that is what a client does
            await asyncio.sleep(ASKED_AGAIN_SECONDS)
        assert said in REFUSED, f"{door}: {said}"
        return time.monotonic()

    return dict(zip(DOORS, await asyncio.gather(*map(refused, DOORS)), strict=True))


async def let_in(stack: Stack, tenant: Tenant) -> None:
    for door in DOORS:
        assert await DOORS[door](stack, tenant.token) == OK, door


async def seconds_until_refused(
    stack: Stack, database: Database, tenant: Tenant, limit: float, deed: Deed = _end_session
) -> dict[str, float]:
    """By door, how long after the commit it was."""
    asking = asyncio.create_task(asked_until_refused(stack, tenant))
    await asyncio.sleep(1)
    assert not asking.done()
    await revoke(database, tenant, deed)
    began = time.monotonic()
    async with asyncio.timeout(limit):
        found = await asking
    return {door: at - began for door, at in found.items()}


def told(what: str, seconds: dict[str, float]) -> None:
    print(f"\n{what}: " + ", ".join(f"{door} {value:.2f} s" for door, value in seconds.items()))


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_client_that_goes_on_asking_is_refused_everywhere(
    stack: Stack, database: Database, client: Tenant, deed: str
) -> None:
    await let_in(stack, client)
    limit = PROMISED_SECONDS * PATIENCE
    told(f"refused after {deed}", await seconds_until_refused(stack, database, client, limit, DEEDS[deed]))


async def test_an_open_socket_is_closed_with_its_session(stack: Stack, database: Database, client: Tenant) -> None:
    url = stack.gateway_url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
        payload = {"Authorization": f"Bearer {client.token}"}
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        await socket.recv()
        assert await _answered(socket)
        await revoke(database, client)
        async with asyncio.timeout(PROMISED_SECONDS * PATIENCE):
            while await _answered(socket):  # noqa: ASYNC110 - that is what a client does
                await asyncio.sleep(0.02)
        assert socket.close_code == 4403


async def _answered(socket: ClientConnection) -> bool:
    try:
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": QUERY}))
        answers = [json.loads(await socket.recv())["type"] for _ in range(2)]
    except ConnectionClosed:
        return False
    return answers == ["next", "complete"]


async def test_an_event_is_not_told_to_who_was_revoked(
    stack: Stack, database: Database, client: Tenant, connect_as: Connect
) -> None:
    log_in = auth_pb2.LogInRequest(email=client.email, password=client.password)
    again = (await connect_as(AuthServiceStub).LogIn(log_in)).access_token.token
    async with connect(stack.gateway_url.replace("http", "ws") + "/graphql", subprotocols=[PROTOCOL], proxy=None) as at:
        await at.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {client.token}"}}))
        await at.recv()
        await at.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": FOLLOW}}))
        await asyncio.sleep(0.5)  # the protocol has no answer to `subscribe`
        await _create_agent(connect_as, again)
        assert json.loads(await at.recv())["type"] == "next"
        await revoke(database, client)
        await asyncio.sleep(PROMISED_SECONDS * 2)
        await _create_agent(connect_as, again)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ConnectionClosed):
                await at.recv()
        assert at.close_code == 4403


async def _create_agent(connect_as: Connect, token: str) -> None:
    request = agent_store_pb2.CreateAgentRequest(agent=agent_store_pb2.Agent(name="New"))
    await connect_as(AgentStoreServiceStub, token).CreateAgent(request)


async def test_what_redis_has_lost_is_told_again(stack: Stack, database: Database, client: Tenant) -> None:
    """Revoked, and then Redis is emptied: no verifier may take that for not revoked."""
    await let_in(stack, client)
    await revoke(database, client)
    await asked_until_refused(stack, client)
    async with connect_redis(stack.redis_url) as redis:
        for _ in range(5):
            await redis.flushall()
            for door in DOORS:
                assert await DOORS[door](stack, client.token) in REFUSED, door
        assert await _complete_again(redis)


async def _complete_again(redis: Redis) -> bool:
    async with asyncio.timeout(PATIENCE):
        while not await redis.exists(COMPLETE):  # noqa: ASYNC110 - Redis tells when asked
            await asyncio.sleep(0.05)
    return True


async def test_without_redis_a_new_token_is_refused_at_once_and_a_known_one_before_long(
    stack: Stack, database: Database, client: Tenant, other_tenant: Tenant
) -> None:
    await let_in(stack, client)
    await stack.stop("valkey")
    try:
        await revoke(database, other_tenant)  # which no door has seen yet
        for door in DOORS:
            assert await DOORS[door](stack, other_tenant.token) in REFUSED, door
        limit = CACHE_SECONDS + PATIENCE
        told("refused without Valkey", await seconds_until_refused(stack, database, client, limit))
    finally:
        await stack.start("valkey")
    for door in DOORS:
        assert await DOORS[door](stack, client.token) in REFUSED, door


async def test_redis_that_was_away_is_heard_again(stack: Stack, database: Database, client: Tenant) -> None:
    await stack.kill("valkey")
    await asyncio.sleep(PAUSE_SECONDS)
    await stack.start("valkey")
    async with connect_redis(stack.redis_url) as redis:
        assert await _complete_again(redis)
    await let_in(stack, client)
    limit = PROMISED_SECONDS * PATIENCE
    told("refused after Valkey was away", await seconds_until_refused(stack, database, client, limit))


async def test_without_redis_and_auth_nobody_new_is_let_in(stack: Stack, client: Tenant, connect_as: Connect) -> None:
    known = await register(connect_as)
    await let_in(stack, known)
    doors = [DOORS[name] for name in ("gateway by HTTP", "agent_store", "vector_search", "graph", "traces")]
    await stack.stop("valkey")
    await stack.stop("auth")
    try:
        assert {await door(stack, client.token) for door in doors} == {"SERVICE_UNAVAILABLE"}
        assert {await door(stack, known.token) for door in doors[1:]} == {OK}
    finally:
        await stack.start("valkey")
        await stack.start("auth")
    await _until_let_in(stack, client)


async def _until_let_in(stack: Stack, tenant: Tenant) -> None:
    """Channels to auth come back by themselves."""
    async with asyncio.timeout(PATIENCE * 2):
        while {await door(stack, tenant.token) for door in DOORS.values()} != {OK}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
