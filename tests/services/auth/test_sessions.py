"""Sessions over real gRPC: who sees them, who ends them, and what ends with them."""

from collections.abc import Awaitable
from typing import Any
from uuid import UUID

from neurectomy.auth.v1 import api_keys_pb2, auth_pb2
from neurectomy.auth.v1 import sessions_pb2 as pb
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.sessions_pb2_grpc import SessionsServiceStub
from services.auth.ending import MOST_OPEN
from services.runtime.postgres import Database
from tests.conftest import Connect, Tenant
from tests.services.auth.conftest import AUDIT, SESSION_REVOCATION, do, join, log_in, refused, unknown_ids


def sessions(connect_as: Connect, caller: Tenant | str | None) -> Any:
    return connect_as(SessionsServiceStub, caller)


async def listed(connect_as: Connect, caller: Tenant | str, user_id: str = "") -> list[pb.Session]:
    answer = await sessions(connect_as, caller).ListSessions(pb.ListSessionsRequest(user_id=user_id))
    return list(answer.sessions)


async def current(connect_as: Connect, token: str) -> pb.Session:
    [found] = [each for each in await listed(connect_as, token) if each.current]
    return found


def refreshed(connect_as: Connect, token: auth_pb2.RefreshToken) -> Awaitable[Any]:
    answer: Awaitable[Any] = sessions(connect_as, None).Refresh(pb.RefreshRequest(refresh_token=token.token))
    return answer


async def test_a_user_sees_where_they_are_logged_in(connect_as: Connect, tenant: Tenant) -> None:
    token = (await log_in(connect_as, tenant)).access_token.token
    found = await listed(connect_as, token)
    assert [each.current for each in found] == [True, False]
    assert {(each.user_id, each.organization.id) for each in found} == {(tenant.user_id, str(tenant.organization_id))}
    newest = found[0]
    assert newest.organization.name
    assert newest.address
    assert newest.create_time.seconds <= newest.use_time.seconds < newest.expire_time.seconds
    assert not newest.HasField("end_time")


async def test_logging_out_ends_the_session_of_the_call(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    begun = await log_in(connect_as, tenant)
    session = await current(connect_as, begun.access_token.token)
    await sessions(connect_as, begun.access_token.token).LogOut(pb.LogOutRequest())
    assert await refused(refreshed(connect_as, begun.refresh_token)) == "TOKEN_REVOKED"
    assert [each.id for each in await listed(connect_as, tenant)] != [session.id]
    [entry] = await do(database, AUDIT, tenant.organization_id, "session.log_out")
    assert (entry["actor"], entry["target"]) == (tenant.user_id, session.id)
    assert len(await do(database, SESSION_REVOCATION, session.id)) == 1


async def test_one_session_is_ended_and_once_more_stays_as_it_is(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    lost = await log_in(connect_as, tenant)
    lost_id = (await current(connect_as, lost.access_token.token)).id
    request = pb.RevokeSessionRequest(id=lost_id)
    first, second = [(await sessions(connect_as, tenant).RevokeSession(request)).session for _ in range(2)]
    assert (first.id, first.HasField("end_time")) == (lost_id, True)
    assert first == second
    assert lost_id not in {each.id for each in await listed(connect_as, tenant)}
    assert await refused(refreshed(connect_as, lost.refresh_token)) == "TOKEN_REVOKED"
    assert len(await do(database, AUDIT, tenant.organization_id, "session.revoke")) == 1


async def test_all_others_end_or_all(connect_as: Connect, tenant: Tenant) -> None:
    here, there = await log_in(connect_as, tenant), await log_in(connect_as, tenant)
    caller = sessions(connect_as, here.access_token.token)
    assert (await caller.RevokeSessions(pb.RevokeSessionsRequest())).ended_count == 2
    assert await refused(refreshed(connect_as, there.refresh_token)) == "TOKEN_REVOKED"
    assert [each.current for each in await listed(connect_as, here.access_token.token)] == [True]
    assert (await caller.RevokeSessions(pb.RevokeSessionsRequest())).ended_count == 0
    assert (await caller.RevokeSessions(pb.RevokeSessionsRequest(include_current=True))).ended_count == 1
    assert await refused(refreshed(connect_as, here.refresh_token)) == "TOKEN_REVOKED"


async def test_of_others_nothing_is_seen_or_ended(connect_as: Connect, tenant: Tenant, other_tenant: Tenant) -> None:
    [others] = await listed(connect_as, other_tenant)
    caller = sessions(connect_as, tenant)
    for wrong in unknown_ids(others.id):
        assert await refused(caller.RevokeSession(pb.RevokeSessionRequest(id=wrong))) == "SESSION_NOT_FOUND"
    for wrong in unknown_ids(other_tenant.user_id):
        if wrong:
            assert await refused(caller.ListSessions(pb.ListSessionsRequest(user_id=wrong))) == "USER_NOT_FOUND"
            assert await refused(caller.RevokeSessions(pb.RevokeSessionsRequest(user_id=wrong))) == "USER_NOT_FOUND"
    for wrong in unknown_ids(str(other_tenant.organization_id)):
        request = pb.SwitchOrganizationRequest(organization_id=wrong)
        assert await refused(caller.SwitchOrganization(request)) == "ORGANIZATION_NOT_FOUND"
    assert [each.id for each in await listed(connect_as, other_tenant)] == [others.id]


async def test_a_manager_ends_a_members_sessions_in_their_organization_only(
    connect_as: Connect, tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    await join(database, other_tenant, tenant.organization_id, "editor")
    inside = await log_in(connect_as, other_tenant, tenant.organization_id)
    seen = await listed(connect_as, tenant, other_tenant.user_id)
    assert {each.organization.id for each in seen} == {str(tenant.organization_id)}
    [outside] = [each for each in await listed(connect_as, other_tenant) if each.current]
    manager, member = sessions(connect_as, tenant), sessions(connect_as, inside.access_token.token)
    assert await refused(manager.RevokeSession(pb.RevokeSessionRequest(id=outside.id))) == "SESSION_NOT_FOUND"
    for request in (pb.ListSessionsRequest(user_id=tenant.user_id), pb.RevokeSessionsRequest(user_id=tenant.user_id)):
        call = member.ListSessions if isinstance(request, pb.ListSessionsRequest) else member.RevokeSessions
        assert await refused(call(request)) == "PERMISSION_MISSING"
    request = pb.RevokeSessionsRequest(user_id=other_tenant.user_id)
    assert (await manager.RevokeSessions(request)).ended_count == 1
    assert await refused(refreshed(connect_as, inside.refresh_token)) == "TOKEN_REVOKED"
    [entry] = await do(database, AUDIT, tenant.organization_id, "session.revoke")
    assert (entry["actor"], entry["details"]) == (tenant.user_id, {"user": other_tenant.user_id})
    assert await listed(connect_as, other_tenant)


async def test_a_manager_does_not_end_what_an_owner_has(
    connect_as: Connect, tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    await join(database, other_tenant, tenant.organization_id, "admin")
    admin = (await log_in(connect_as, other_tenant, tenant.organization_id)).access_token.token
    [owners] = await listed(connect_as, admin, tenant.user_id)
    caller = sessions(connect_as, admin)
    assert await refused(caller.RevokeSession(pb.RevokeSessionRequest(id=owners.id))) == "PERMISSION_MISSING"
    request = pb.RevokeSessionsRequest(user_id=tenant.user_id)
    assert await refused(caller.RevokeSessions(request)) == "PERMISSION_MISSING"


async def _switched(connect_as: Connect, token: str, organization_id: UUID) -> pb.SwitchOrganizationResponse:
    request = pb.SwitchOrganizationRequest(organization_id=str(organization_id))
    answer: pb.SwitchOrganizationResponse = await sessions(connect_as, token).SwitchOrganization(request)
    return answer


async def test_a_user_goes_over_to_another_organization(
    connect_as: Connect, tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    await join(database, other_tenant, tenant.organization_id, "viewer")
    there = await _switched(connect_as, other_tenant.token, tenant.organization_id)
    me = await connect_as(AuthServiceStub, there.access_token.token).GetCurrentUser(auth_pb2.GetCurrentUserRequest())
    assert (me.user.id, me.organization.id) == (other_tenant.user_id, str(tenant.organization_id))
    assert "agents:write" not in me.permissions
    assert (there.user, there.organization) == (me.user, me.organization)
    here = await current(connect_as, other_tenant.token)
    new = await current(connect_as, there.access_token.token)
    entries = await do(database, AUDIT, tenant.organization_id, "session.create")
    assert [entry["details"] for entry in entries if entry["target"] == new.id] == [{"from": here.id}]
    assert {each.organization.id for each in await listed(connect_as, there.access_token.token)} == {
        str(tenant.organization_id),
        str(other_tenant.organization_id),
    }


async def test_what_sprang_from_a_session_ends_with_it(connect_as: Connect, tenant: Tenant, database: Database) -> None:
    stolen = await log_in(connect_as, tenant)
    child = await _switched(connect_as, stolen.access_token.token, tenant.organization_id)
    grandchild = await _switched(connect_as, child.access_token.token, tenant.organization_id)
    session = await current(connect_as, stolen.access_token.token)
    await sessions(connect_as, tenant).RevokeSession(pb.RevokeSessionRequest(id=session.id))
    for each in (child, grandchild):
        assert await refused(refreshed(connect_as, each.refresh_token)) == "TOKEN_REVOKED"
    assert len(await do(database, AUDIT, tenant.organization_id, "session.revoke")) == 3
    assert [each.id for each in await listed(connect_as, tenant)] == [(await current(connect_as, tenant.token)).id]


async def test_ending_all_others_leaves_the_one_that_sprang_from_them(connect_as: Connect, tenant: Tenant) -> None:
    here = await _switched(connect_as, tenant.token, tenant.organization_id)
    parent = await current(connect_as, tenant.token)
    caller = sessions(connect_as, here.access_token.token)
    await caller.RevokeSession(pb.RevokeSessionRequest(id=parent.id))
    assert await refreshed(connect_as, here.refresh_token)
    assert (await caller.RevokeSessions(pb.RevokeSessionsRequest())).ended_count == 0


async def test_a_session_that_has_ended_makes_nothing_that_lives_on(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    token = (await log_in(connect_as, tenant)).access_token.token
    session = await current(connect_as, token)
    await do(database, "UPDATE sessions SET ended_at = now() WHERE session_id = $1", UUID(session.id))
    request = pb.SwitchOrganizationRequest(organization_id=str(tenant.organization_id))
    assert await refused(sessions(connect_as, token).SwitchOrganization(request)) == "TOKEN_REVOKED"
    key = api_keys_pb2.CreateApiKeyRequest(name="to stay")
    assert await refused(connect_as(ApiKeysServiceStub, token).CreateApiKey(key)) == "TOKEN_REVOKED"


async def test_a_script_has_no_session(connect_as: Connect, tenant: Tenant) -> None:
    request = api_keys_pb2.CreateApiKeyRequest(name="script")
    key = (await connect_as(ApiKeysServiceStub, tenant).CreateApiKey(request)).key
    script = sessions(connect_as, key)
    assert await refused(script.LogOut(pb.LogOutRequest())) == "SESSION_NOT_FOUND"
    assert await refused(script.ListSessions(pb.ListSessionsRequest())) == "USER_NOT_FOUND"
    assert await refused(script.RevokeSessions(pb.RevokeSessionsRequest())) == "USER_NOT_FOUND"
    switch = pb.SwitchOrganizationRequest(organization_id=str(tenant.organization_id))
    assert await refused(script.SwitchOrganization(switch)) == "SESSION_NOT_FOUND"
    assert len(await listed(connect_as, key, tenant.user_id)) == 1


MANY = """
INSERT INTO sessions (session_id, organization_id, user_id, device, address, expires_at, created_at)
SELECT gen_random_uuid(), $1, $2, '', '', now() + interval '1 day', now() - interval '1 day' FROM generate_series(1, $3)
"""


async def test_more_sessions_than_one_transaction_takes_end(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    await do(database, MANY, tenant.organization_id, UUID(tenant.user_id), 250)
    answer = await sessions(connect_as, tenant).RevokeSessions(pb.RevokeSessionsRequest())
    assert answer.ended_count == 250


async def test_nobody_has_more_sessions_than_can_be_ended_at_once(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    """Another log-in ends the oldest; switching, for which a stolen token is enough, is refused."""
    await do(database, MANY, tenant.organization_id, UUID(tenant.user_id), MOST_OPEN)
    switch = pb.SwitchOrganizationRequest(organization_id=str(tenant.organization_id))
    assert await refused(sessions(connect_as, tenant).SwitchOrganization(switch)) == "TOO_LARGE"
    token = (await log_in(connect_as, tenant)).access_token.token
    assert len(await listed(connect_as, token)) == MOST_OPEN
    assert tenant.token != token
    assert len(await listed(connect_as, tenant.token)) == MOST_OPEN  # the newest of them is not among the oldest
