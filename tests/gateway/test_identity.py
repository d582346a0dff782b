"""As whom a request's calls are made."""

import asyncio
from uuid import uuid4

import pytest

from deploy.local.stack import Stack
from gateway.documents import BEGINNINGS
from gateway.execution import load_schema
from gateway.identity import Anonymous, token_of
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.runtime.errors import TokenInvalid
from tests.conftest import Connect
from tests.gateway.clients import CREATE_AGENT, PASSWORD, REGISTER, Client, World
from tests.gateway.running import gateway

READ = "{ agents { name } }"


@pytest.mark.parametrize("header", [b"Basic x", b"Bearer", b"Bearer ", b"Bearer t\xc3\xb6", b"Bearer \x00", b"x"])
def test_a_header_that_is_no_bearer_token(header: bytes) -> None:
    with pytest.raises(TokenInvalid):
        token_of(header)


def test_a_bearer_token_and_none() -> None:
    assert token_of(b"bearer abc") == "abc"
    assert token_of(None) is None


async def test_an_anonymous_token_is_kept_for_ten_seconds_for_its_key_may_be_revoked(
    stack: Stack, connect_as: Connect
) -> None:
    now = 0.0
    anonymous = Anonymous(connect_as(AuthServiceStub), clock=lambda: now)
    first = await anonymous.token()
    assert first is not None
    now = 9.0
    assert await anonymous.token() == first
    now = 10.0
    assert await anonymous.token() != first


async def test_without_a_token_the_anonymous_organization_is_read_and_not_written(stranger: Client) -> None:
    assert "errors" not in await stranger.answer(READ)
    error = await stranger.error(CREATE_AGENT, input={"name": "x"})
    assert error["extensions"]["code"] == "FORBIDDEN"
    me = await stranger.error("{ me { permissions } }")
    assert me["extensions"]["code"] == "NOT_FOUND"


async def test_a_token_is_never_taken_for_no_token(stranger: Client) -> None:
    error = await Client(stranger.http, "forged").error(READ)
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("UNAUTHENTICATED", "TOKEN_INVALID")


async def test_a_refused_token_is_refused_before_anything_is_done(stranger: Client) -> None:
    """Also where no token is needed: a mutation that is open to anyone does not run for a forger."""
    email = f"{uuid4()}@example.org"
    person = {"email": email, "password": PASSWORD, "displayName": "Ada", "organizationName": "Works"}
    forger = Client(stranger.http, "forged")
    answer = await forger.post({"query": REGISTER, "variables": {"input": person}})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "data" not in answer.json()
    assert (await forger.post({"query": "{ not GraphQL"})).status_code == 401
    assert (await stranger.data(REGISTER, input=person))["register"]["accessToken"]


async def test_where_anonymous_access_is_off_a_token_is_needed(stack: Stack, world: World) -> None:
    async with gateway(stack, ANONYMOUS_ACCESS="false") as one:
        error = await one.client.error(READ)
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("UNAUTHENTICATED", "TOKEN_MISSING")
        assert "errors" not in await Client(one.client.http, world.client.token).answer(READ)


async def test_callers_at_the_same_time_get_each_their_own(world: World, other_world: World, stranger: Client) -> None:
    query = "{ me { user { id } } agents { id } }"
    clients = [world.client, other_world.client, stranger] * 10
    answers = await asyncio.gather(*(client.answer(query) for client in clients))
    for client, answer in zip(clients, answers, strict=True):
        mine = {world.client: world, other_world.client: other_world}.get(client)
        assert (answer["data"]["me"] or {}).get("user") == ({"id": mine.user_id} if mine else None)
        assert (world.agent_id in str(answer)) == (mine is world)


def test_what_begins_a_session_is_what_is_open_to_anyone() -> None:
    mutations = load_schema().mutation_type
    assert mutations is not None
    assert {
        name for name, field in mutations.fields.items() if "Open to anyone" in (field.description or "")
    } == BEGINNINGS


REFRESH = "mutation ($token: String!) { refresh(refreshToken: $token) { accessToken } }"
LOG_IN = "mutation ($input: LogInInput!) { logIn(input: $input) { accessToken refreshToken } }"


async def test_a_token_that_has_ended_does_not_keep_its_bearer_from_a_new_one(stranger: Client) -> None:
    """Clients send the header along with all that they ask."""
    email = f"{uuid4()}@example.org"
    person = {"email": email, "password": PASSWORD, "displayName": "Ada", "organizationName": "Works"}
    await stranger.data(REGISTER, input=person)
    credentials = {"email": email, "password": PASSWORD}
    first = (await stranger.data(LOG_IN, input=credentials))["logIn"]
    other = (await stranger.data(LOG_IN, input=credentials))["logIn"]
    bearer = Client(stranger.http, first["accessToken"])
    assert (await bearer.data("mutation { logOut }"))["logOut"] is True
    async with asyncio.timeout(30):
        while "errors" not in (ended := await bearer.answer("{ me { permissions } }")):  # noqa: ASYNC110 - that is what a client does
            await asyncio.sleep(0.05)
    assert ended["errors"][0]["extensions"]["reason"] == "TOKEN_REVOKED"
    assert (await bearer.data(REFRESH, token=other["refreshToken"]))["refresh"]["accessToken"]
    both = "mutation ($token: String!) { refresh(refreshToken: $token) { accessToken } logOut }"
    assert (await bearer.error(both, token=other["refreshToken"]))["extensions"]["reason"] == "TOKEN_REVOKED"
