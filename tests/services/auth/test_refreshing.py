"""Refresh tokens over real gRPC: parallel ones, lost answers, and what a stolen one is worth."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import grpc
import pytest

from deploy.local.stack import Stack
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import sessions_pb2 as pb
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.sessions_pb2_grpc import SessionsServiceStub
from services.auth.origin import Origin
from services.auth.refreshing import successor
from services.auth.sessions import Lifetimes, Member, Sessions
from services.auth.store import sessions as rows
from services.auth.store.refresh_tokens import KEPT_GENERATIONS
from services.auth.sweeping import Sweeping
from services.auth.tokens import SigningKey, Tokens
from services.runtime.postgres import Database
from tests.conftest import Connect, Tenant, reason
from tests.services.auth.conftest import AUDIT, SESSION_REVOCATION, do, join, log_in, refused

GRACE, IDLE = 10, 2_592_000
LONG = 3_600
"""By which what was rotated is made younger, so that a machine that stalls is not taken for a thief."""
AGE_TOKENS = "UPDATE refresh_tokens SET rotated_at = rotated_at - make_interval(secs => $2) WHERE session_id = $1"
AGE_SESSION = "UPDATE sessions SET expires_at = expires_at - make_interval(secs => $2) WHERE session_id = $1"
AGE_PASSWORD = (
    "UPDATE sessions SET authenticated_at = authenticated_at - make_interval(secs => $2) WHERE session_id = $1"
)
TOKENS = "SELECT FROM refresh_tokens WHERE session_id = $1"
MUCH_LATER = """
UPDATE refresh_tokens SET generation = generation + $2 WHERE session_id = $1 AND rotated_at IS NULL
"""
SESSION = "SELECT * FROM sessions WHERE session_id = $1"
DEMOTE = "UPDATE memberships SET role = 'viewer', version = version + 1 WHERE organization_id = $1 AND user_id = $2"
REMOVE = "DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2"


async def refresh(connect_as: Connect, token: str) -> pb.RefreshResponse:
    answer: pb.RefreshResponse = await connect_as(SessionsServiceStub).Refresh(pb.RefreshRequest(refresh_token=token))
    return answer


async def session_of(connect_as: Connect, token: str) -> UUID:
    answer = await connect_as(AuthServiceStub).VerifyToken(auth_pb2.VerifyTokenRequest(token=token))
    return UUID(answer.principal.session_id)


async def test_a_token_gets_an_access_token_and_its_successor(connect_as: Connect, tenant: Tenant) -> None:
    first = await log_in(connect_as, tenant)
    second = await refresh(connect_as, first.refresh_token.token)
    third = await refresh(connect_as, second.refresh_token.token)
    assert len({each.refresh_token.token for each in (first, second, third)}) == 3
    me = await connect_as(AuthServiceStub, third.access_token.token).GetCurrentUser(auth_pb2.GetCurrentUserRequest())
    assert me.user.id == tenant.user_id
    assert third.refresh_token.expire_time.seconds == pytest.approx(time.time() + IDLE, abs=60)


async def test_twenty_parallel_refreshes_of_one_token_log_nobody_out(connect_as: Connect, tenant: Tenant) -> None:
    token = (await log_in(connect_as, tenant)).refresh_token.token
    answers = await asyncio.gather(*(refresh(connect_as, token) for _ in range(20)))
    [common] = {answer.refresh_token.token for answer in answers}
    asked = auth_pb2.GetCurrentUserRequest()
    for answer in answers:
        assert (await connect_as(AuthServiceStub, answer.access_token.token).GetCurrentUser(asked)).user.id
    assert (await refresh(connect_as, common)).access_token.token


async def test_an_old_token_after_the_grace_ends_the_session_and_is_written_down(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    stolen = (await log_in(connect_as, tenant)).refresh_token.token
    owners = await refresh(connect_as, stolen)
    session_id = await session_of(connect_as, owners.access_token.token)
    await do(database, AGE_TOKENS, session_id, GRACE + 1)
    assert await refused(refresh(connect_as, stolen)) == "TOKEN_REVOKED"
    assert await refused(refresh(connect_as, owners.refresh_token.token)) == "TOKEN_REVOKED"
    [entry] = await do(database, AUDIT, tenant.organization_id, "session.reuse")
    assert (entry["target"], entry["actor_type"], entry["details"]) == (
        str(session_id),
        "stranger",
        {"user": tenant.user_id},
    )
    assert len(await do(database, SESSION_REVOCATION, str(session_id))) == 1
    assert await refused(refresh(connect_as, stolen)) == "TOKEN_REVOKED"
    assert len(await do(database, AUDIT, tenant.organization_id, "session.reuse")) == 1


async def test_many_at_once_that_reuse_a_token_are_one_event(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    stolen = (await log_in(connect_as, tenant)).refresh_token.token
    owners = await refresh(connect_as, stolen)
    await do(database, AGE_TOKENS, await session_of(connect_as, owners.access_token.token), GRACE + 1)
    both = (stolen, owners.refresh_token.token)
    answers = await asyncio.gather(*(refresh(connect_as, token) for token in both * 5), return_exceptions=True)
    refusals = [reason(each) for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert set(refusals) == {"TOKEN_REVOKED"}
    assert len(refusals) >= 5
    assert len(await do(database, AUDIT, tenant.organization_id, "session.reuse")) == 1


async def test_the_grace_is_for_the_parent_alone(connect_as: Connect, tenant: Tenant, database: Database) -> None:
    begun = await log_in(connect_as, tenant)
    first = begun.refresh_token.token
    second = (await refresh(connect_as, first)).refresh_token.token
    third = (await refresh(connect_as, second)).refresh_token.token
    await do(database, AGE_TOKENS, await session_of(connect_as, begun.access_token.token), -LONG)
    assert (await refresh(connect_as, second)).refresh_token.token == third
    assert await refused(refresh(connect_as, first)) == "TOKEN_REVOKED"
    assert await refused(refresh(connect_as, third)) == "TOKEN_REVOKED"


async def test_a_thief_in_the_grace_gets_no_branch_of_their_own(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    shared = (await log_in(connect_as, tenant)).refresh_token.token
    owners = await refresh(connect_as, shared)
    session_id = await session_of(connect_as, owners.access_token.token)
    await do(database, AGE_TOKENS, session_id, -LONG)
    thiefs = await refresh(connect_as, shared)
    await refresh(connect_as, thiefs.refresh_token.token)
    await do(database, AGE_TOKENS, session_id, GRACE + LONG + 1)
    assert await refused(refresh(connect_as, owners.refresh_token.token)) == "TOKEN_REVOKED"


STRANGE = {
    "empty": "",
    "noise": "no token",
    "an API key": f"nrctmy_live_{'a' * 43}{'0' * 8}",
    "unknown": f"nrctmy_refresh_{'a' * 43}",
    "padded": f"nrctmy_refresh_{'a' * 43}=",
    "with a line's end": f"nrctmy_refresh_{'a' * 43}\n",
    "NUL": f"nrctmy_refresh_{'a' * 42}\0",
    "other letters": f"nrctmy_refresh_{'ä' * 43}",
    "a megabyte": "nrctmy_refresh_" + "a" * 1_000_000,
}


@pytest.mark.parametrize("token", STRANGE.values(), ids=STRANGE)
async def test_what_never_was_a_token_is_invalid(connect_as: Connect, token: str) -> None:
    assert await refused(refresh(connect_as, token)) == "TOKEN_INVALID"


async def test_an_access_token_gets_nothing(connect_as: Connect, tenant: Tenant) -> None:
    assert await refused(refresh(connect_as, tenant.token)) == "TOKEN_INVALID"


def test_a_successor_is_nobodys_guess() -> None:
    one = successor(b"k" * 32, "nrctmy_refresh_x")
    assert one == successor(b"k" * 32, "nrctmy_refresh_x")
    assert one not in {successor(b"l" * 32, "nrctmy_refresh_x"), successor(b"k" * 32, "nrctmy_refresh_y")}


async def test_a_session_ends_when_it_is_left_alone(connect_as: Connect, tenant: Tenant, database: Database) -> None:
    begun = await log_in(connect_as, tenant)
    session_id = await session_of(connect_as, begun.access_token.token)
    await do(database, AGE_SESSION, session_id, IDLE + 1)
    assert await refused(refresh(connect_as, begun.refresh_token.token)) == "TOKEN_EXPIRED"
    await _sweep(database)
    assert len(await do(database, TOKENS, session_id)) == 1
    await do(database, AGE_SESSION, session_id, 3_600)
    await _sweep(database)
    assert not await do(database, SESSION, session_id)
    assert await refused(refresh(connect_as, begun.refresh_token.token)) == "TOKEN_INVALID"


async def test_a_session_ends_at_last_however_often_it_is_used(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    begun = await log_in(connect_as, tenant)
    session_id = await session_of(connect_as, begun.access_token.token)
    await do(database, AGE_PASSWORD, session_id, 7_776_000 - 60)
    last = await refresh(connect_as, begun.refresh_token.token)
    assert last.refresh_token.expire_time.seconds == pytest.approx(time.time() + 60, abs=30)
    await do(database, AGE_SESSION, session_id, 61)
    assert await refused(refresh(connect_as, last.refresh_token.token)) == "TOKEN_EXPIRED"


async def test_tokens_are_forgotten_past_their_own_end_only(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    begun = await log_in(connect_as, tenant)
    second = await refresh(connect_as, begun.refresh_token.token)
    session_id = await session_of(connect_as, begun.access_token.token)
    await do(database, AGE_TOKENS, session_id, IDLE - 60)
    await _sweep(database)
    assert len(await do(database, TOKENS, session_id)) == 2
    await do(database, AGE_TOKENS, session_id, 120)
    await _sweep(database)
    assert len(await do(database, TOKENS, session_id)) == 1
    assert await refresh(connect_as, second.refresh_token.token)


async def test_who_refreshes_without_end_fills_no_disk(connect_as: Connect, tenant: Tenant, database: Database) -> None:
    first = await log_in(connect_as, tenant)
    second = await refresh(connect_as, first.refresh_token.token)
    session_id = await session_of(connect_as, first.access_token.token)
    await do(database, MUCH_LATER, session_id, KEPT_GENERATIONS)
    third = await refresh(connect_as, second.refresh_token.token)
    assert len(await do(database, TOKENS, session_id)) == 2
    assert await refused(refresh(connect_as, first.refresh_token.token)) == "TOKEN_INVALID"
    assert await refresh(connect_as, third.refresh_token.token)


async def _sweep(database: Database) -> None:
    sweeping = Sweeping(database, IDLE, batch=1)
    while await sweeping.sweep():
        pass


async def test_a_refresh_gives_what_the_member_may_do_now(
    connect_as: Connect, tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    await join(database, other_tenant, tenant.organization_id, "editor")
    begun = await log_in(connect_as, other_tenant, tenant.organization_id)
    where = (tenant.organization_id, UUID(other_tenant.user_id))
    await do(database, DEMOTE, *where)
    demoted = await refresh(connect_as, begun.refresh_token.token)
    request = auth_pb2.VerifyTokenRequest(token=demoted.access_token.token)
    principal = (await connect_as(AuthServiceStub).VerifyToken(request)).principal
    assert "agents:read" in principal.permissions
    assert "agents:write" not in principal.permissions
    await do(database, REMOVE, *where)
    assert await refused(refresh(connect_as, demoted.refresh_token.token)) == "TOKEN_REVOKED"
    [entry] = await do(database, AUDIT, tenant.organization_id, "session.removal")
    assert entry["details"] == {"user": other_tenant.user_id}
    await join(database, other_tenant, tenant.organization_id, "editor")
    assert await refused(refresh(connect_as, demoted.refresh_token.token)) == "TOKEN_REVOKED"


async def test_a_client_that_went_away_half_way_asks_again(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    begun = await log_in(connect_as, tenant)
    token = begun.refresh_token.token
    for pause in (0.0, 0.001, 0.002, 0.004, 0.008):
        going = asyncio.ensure_future(refresh(connect_as, token))
        await asyncio.sleep(pause)
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
    await do(database, AGE_TOKENS, await session_of(connect_as, begun.access_token.token), -LONG)
    following = (await refresh(connect_as, token)).refresh_token.token
    assert (await refresh(connect_as, following)).access_token.token


async def test_a_client_asks_again_when_the_database_is_back(connect_as: Connect, tenant: Tenant, stack: Stack) -> None:
    token = (await log_in(connect_as, tenant)).refresh_token.token
    await stack.kill("postgres")
    try:
        assert await refused(refresh(connect_as, token)) == "STORE_UNAVAILABLE"
    finally:
        await stack.start("postgres")
    following = (await _sooner_or_later(connect_as, token)).refresh_token.token
    assert (await refresh(connect_as, following)).access_token.token


async def _sooner_or_later(connect_as: Connect, token: str) -> pb.RefreshResponse:
    """As clients do: again, while the database is on its way."""
    while True:
        try:
            return await refresh(connect_as, token)
        except grpc.aio.AioRpcError as error:
            if reason(error) != "STORE_UNAVAILABLE":
                raise
        await asyncio.sleep(0.1)


async def test_what_a_client_calls_itself_is_kept_in_part(tenant: Tenant, database: Database) -> None:
    tokens = Tokens([SigningKey.generate()], 600)
    sessions = Sessions(tokens, Lifetimes(60, 600))
    member = Member(tenant.organization_id, UUID(tenant.user_id), frozenset(), 1)
    async with database.tenant(tenant.organization_id) as statements:
        await sessions.begin(statements, member, Origin("203.0.113.7", "x" * 10_000))
        newest = (await rows.open_ones(statements, member.user_id, tenant.organization_id))[0]
    assert newest["device"] == "x" * 300
    assert newest["expires_at"] - datetime.now(UTC) < timedelta(seconds=61)
