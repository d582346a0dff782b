"""Members over real gRPC: who may change whom, what is taken back, and what holds when two do it at once."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from neurectomy.auth.v1 import api_keys_pb2 as keys
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import members_pb2 as pb
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.members_pb2_grpc import MembersServiceStub
from tests.conftest import Connect, Tenant, register
from tests.services.auth.people import People, outcome, refused


def _set(member: Tenant | str, role_id: str) -> pb.SetMemberRoleRequest:
    user_id = member if isinstance(member, str) else member.user_id
    return pb.SetMemberRoleRequest(user_id=user_id, role_id=role_id)


async def test_members_come_page_by_page_and_each_once(
    connect_as: Connect, owner: Tenant, admin: Tenant, viewer: Tenant
) -> None:
    members, found, token = connect_as(MembersServiceStub, owner), [], ""
    while True:
        page = await members.ListMembers(pb.ListMembersRequest(page_size=2, page_token=token))
        found += page.members
        assert len(page.page_tokens) == len(page.members)
        if not (token := page.next_page_token):
            break
    roles = {member.user.id: member.role.id for member in found}
    assert len(found) == len(roles)
    assert {owner.user_id: "owner", admin.user_id: "admin", viewer.user_id: "viewer"}.items() <= roles.items()
    assert [member.user.id for member in found] == sorted(roles)


async def test_addresses_are_for_those_who_manage_members_and_for_their_own(
    connect_as: Connect, owner: Tenant, admin: Tenant, viewer: Tenant
) -> None:
    async def addresses(caller: Tenant) -> set[str]:
        page = await connect_as(MembersServiceStub, caller).ListMembers(pb.ListMembersRequest())
        return {member.user.email for member in page.members} - {""}

    assert {owner.email, admin.email, viewer.email} <= await addresses(admin)
    assert await addresses(viewer) == {viewer.email}


async def test_lists_refuse(connect_as: Connect, owner: Tenant, other_tenant: Tenant) -> None:
    members = connect_as(MembersServiceStub, owner)
    attempts = [
        (pb.ListMembersRequest(page_size=1_001), "INVALID_FIELDS"),
        (pb.ListMembersRequest(page_size=-1), "INVALID_FIELDS"),
        (pb.ListMembersRequest(page_token="x" * 500), "PAGE_TOKEN_INVALID"),
        (pb.ListMembersRequest(organization_id=str(other_tenant.organization_id)), "ORGANIZATION_NOT_FOUND"),
        (pb.ListMembersRequest(organization_id="x" * 5_000), "ORGANIZATION_NOT_FOUND"),
    ]
    for request, expected in attempts:
        assert await refused(members.ListMembers(request)) == expected


async def test_a_new_role_takes_the_old_tokens_back_and_gives_others(
    connect_as: Connect, people: People, owner: Tenant
) -> None:
    member = await people.join(owner, "viewer")
    request = keys.CreateApiKeyRequest(name="script")
    members = connect_as(MembersServiceStub, owner)
    await members.SetMemberRole(_set(member, "admin"))
    key = await connect_as(ApiKeysServiceStub, await _again(connect_as, member)).CreateApiKey(request)

    changed = (await members.SetMemberRole(_set(member, "editor"))).member
    assert (changed.user.id, changed.role.id) == (member.user_id, "editor")
    assert await people.revoked_version(member) == 3
    async with people.database() as database:
        sql = "SELECT count(*) FROM auth.revocations WHERE kind = 'api_key' AND key = $1"
        assert await database.fetchval(sql, key.id) == 1
    claims = jwt.decode((await _again(connect_as, member)).token, options={"verify_signature": False})
    assert (claims["ver"], "agents:write" in claims["scope"], "agents:*" in claims["scope"]) == (3, True, False)


async def test_the_same_role_again_changes_nothing(connect_as: Connect, people: People, owner: Tenant) -> None:
    member = await people.join(owner, "viewer")
    before = await people.audited(owner.organization_id)
    again = await connect_as(MembersServiceStub, owner).SetMemberRole(_set(member, "viewer"))
    assert again.member.role.id == "viewer"
    assert await people.revoked_version(member) is None
    assert await people.audited(owner.organization_id) == before


async def test_me_says_the_role(connect_as: Connect, viewer: Tenant) -> None:
    me = await connect_as(AuthServiceStub, viewer).GetCurrentUser(auth_pb2.GetCurrentUserRequest())
    assert (me.role.id, me.role.built_in) == ("viewer", True)


async def test_nobody_gives_or_takes_beyond_what_they_have(
    connect_as: Connect, people: People, owner: Tenant, admin: Tenant, viewer: Tenant
) -> None:
    audit_all = await people.role(owner, "audit:*")
    manager = await people.join(owner, (await people.role(owner, "members:*", "agents:read")).id)
    attempts = [
        (admin, _set(viewer, "owner")),
        (admin, _set(admin, "owner")),
        (admin, _set(owner, "viewer")),
        (admin, _set(viewer, audit_all.id)),
        (manager, _set(manager, "admin")),
        (manager, _set(viewer, "viewer")),
        (manager, _set(admin, "viewer")),
        (viewer, _set(viewer, "admin")),
    ]
    for caller, request in attempts:
        assert await refused(connect_as(MembersServiceStub, caller).SetMemberRole(request)) == "PERMISSION_MISSING"
    removals = [(admin, owner), (manager, admin), (manager, viewer), (viewer, viewer)]
    for caller, target in removals:
        removal = pb.RemoveMemberRequest(user_id=target.user_id)
        assert await refused(connect_as(MembersServiceStub, caller).RemoveMember(removal)) == "PERMISSION_MISSING"


async def test_a_token_that_is_behind_gives_no_more_than_the_membership(
    connect_as: Connect, people: People, owner: Tenant, viewer: Tenant
) -> None:
    """Whether or not verifiers have heard of it yet."""
    former = await people.join(owner, "admin")
    await connect_as(MembersServiceStub, owner).SetMemberRole(_set(former, "viewer"))
    failed = await refused(connect_as(MembersServiceStub, former).SetMemberRole(_set(viewer, "editor")))
    assert failed in {"PERMISSION_MISSING", "TOKEN_REVOKED"}


STRANGERS: dict[str, Any] = {
    "unknown": lambda other: str(uuid4()),
    "malformed": lambda _: "x" * 5_000,
    "other": lambda other: other,
}


@pytest.mark.parametrize("who", STRANGERS)
async def test_who_is_no_member_cannot_be_changed(
    connect_as: Connect, owner: Tenant, other_tenant: Tenant, who: str
) -> None:
    user_id, members = STRANGERS[who](other_tenant.user_id), connect_as(MembersServiceStub, owner)
    assert await refused(members.SetMemberRole(_set(user_id, "viewer"))) == "USER_NOT_FOUND"
    assert await refused(members.RemoveMember(pb.RemoveMemberRequest(user_id=user_id))) == "USER_NOT_FOUND"


async def test_a_role_of_another_organization_is_not_there(
    connect_as: Connect, people: People, owner: Tenant, viewer: Tenant, other_tenant: Tenant
) -> None:
    foreign = await people.role(other_tenant, "agents:read")
    for role_id in (foreign.id, str(uuid4()), "custom", "", "x" * 5_000):
        request = _set(viewer, role_id)
        assert await refused(connect_as(MembersServiceStub, owner).SetMemberRole(request)) == "ROLE_NOT_FOUND"


async def test_a_removed_member_is_out_at_once(connect_as: Connect, people: People, owner: Tenant) -> None:
    member = await people.join(owner, "admin")
    key = (await connect_as(ApiKeysServiceStub, member).CreateApiKey(keys.CreateApiKeyRequest(name="script"))).key
    code = await people.invite(member, "viewer")
    removal = pb.RemoveMemberRequest(user_id=member.user_id)
    await connect_as(MembersServiceStub, owner).RemoveMember(removal)

    assert await people.revoked_version(member) == 2
    async with people.database() as database:
        sql = "SELECT end_reason FROM auth.sessions WHERE user_id = $1"
        assert [row["end_reason"] for row in await database.fetch(sql, member.user_id)] == ["removal"]
    assert await refused(people.accept(code, password="long enough for us", display_name="x")) == "CODE_INVALID"
    assert await refused(_log_in(connect_as, member)) == "CREDENTIALS_INVALID"
    for caller in (member, key):
        failed = await refused(connect_as(MembersServiceStub, caller).RemoveMember(removal))
        assert failed in {"PERMISSION_MISSING", "TOKEN_REVOKED", "TOKEN_INVALID"}
    assert await refused(connect_as(MembersServiceStub, owner).RemoveMember(removal)) == "USER_NOT_FOUND"


async def test_who_joins_again_is_above_what_was_taken_back(
    connect_as: Connect, people: People, owner: Tenant, other_tenant: Tenant
) -> None:
    await people.accept(await people.invite(owner, "viewer", other_tenant.email), caller=other_tenant)
    key = await _key_of(people, owner, other_tenant)
    await connect_as(MembersServiceStub, owner).RemoveMember(pb.RemoveMemberRequest(user_id=other_tenant.user_id))
    await people.accept(await people.invite(owner, "viewer", other_tenant.email), caller=other_tenant)
    again = await _log_in(connect_as, other_tenant, str(owner.organization_id))
    claims = jwt.decode(again.access_token.token, options={"verify_signature": False})
    here = Tenant(owner.organization_id, other_tenant.user_id, "", "", "")
    assert claims["ver"] == await people.revoked_version(here) == 2
    assert await people.is_revoked(key)


async def _key_of(people: People, where: Tenant, user: Tenant) -> UUID:
    """A key that a member answers for."""
    sql = """
    INSERT INTO auth.api_keys (api_key_id, organization_id, creator_id, user_id, name, prefix, sha256, scopes)
    VALUES ($1, $2, $3::uuid::text, $3::uuid, 'script', '', $4, '{agents:read}')
    """
    key = uuid4()
    async with people.database() as database:
        await database.execute(sql, key, where.organization_id, UUID(user.user_id), key.bytes)
    return key


async def test_the_last_owner_stays(connect_as: Connect, people: People) -> None:
    alone = await register(connect_as)
    members = connect_as(MembersServiceStub, alone)
    removal = pb.RemoveMemberRequest(user_id=alone.user_id)
    assert await refused(members.SetMemberRole(_set(alone, "admin"))) == "LAST_OWNER"
    assert await refused(members.RemoveMember(removal)) == "LAST_OWNER"
    assert await refused(members.LeaveOrganization(pb.LeaveOrganizationRequest())) == "LAST_OWNER"
    await members.SetMemberRole(_set(alone, "owner"))


async def test_two_owners_who_demote_each_other_leave_one(connect_as: Connect, people: People) -> None:
    one = await register(connect_as)
    two = await people.join(one, "owner")
    for deed in ("SetMemberRole", "RemoveMember", "LeaveOrganization"):
        calls = [_against(connect_as, deed, caller, target) for caller, target in ((one, two), (two, one))]
        outcomes = sorted(await asyncio.gather(*map(outcome, calls)))
        assert outcomes[1] == "done", deed
        assert outcomes[0] in {"LAST_OWNER", "PERMISSION_MISSING", "TOKEN_REVOKED", "USER_NOT_FOUND"}, deed
        async with people.database() as database:
            sql = "SELECT user_id::text FROM auth.memberships WHERE organization_id = $1 AND role = 'owner'"
            [left] = [row["user_id"] for row in await database.fetch(sql, one.organization_id)]
        one = await _again(connect_as, one if left == one.user_id else two)
        two = await people.join(one, "owner")


def _against(connect_as: Connect, deed: str, caller: Tenant, target: Tenant) -> object:
    requests = {
        "SetMemberRole": _set(target, "viewer"),
        "RemoveMember": pb.RemoveMemberRequest(user_id=target.user_id),
        "LeaveOrganization": pb.LeaveOrganizationRequest(),
    }
    return getattr(connect_as(MembersServiceStub, caller), deed)(requests[deed])


async def test_a_script_leaves_nothing(connect_as: Connect, owner: Tenant) -> None:
    key = (await connect_as(ApiKeysServiceStub, owner).CreateApiKey(keys.CreateApiKeyRequest(name="script"))).key
    leaving = connect_as(MembersServiceStub, key).LeaveOrganization(pb.LeaveOrganizationRequest())
    assert await refused(leaving) == "USER_NOT_FOUND"


async def test_a_script_manages_within_its_scopes(connect_as: Connect, people: People, owner: Tenant) -> None:
    member = await people.join(owner, "viewer")
    scopes = ["members:manage", "agents:read"]
    request = keys.CreateApiKeyRequest(name="script", scopes=scopes)
    key = (await connect_as(ApiKeysServiceStub, owner).CreateApiKey(request)).key
    narrow = await people.role(owner, "agents:read")
    members = connect_as(MembersServiceStub, key)
    assert await refused(members.SetMemberRole(_set(member, narrow.id))) == "PERMISSION_MISSING"
    await connect_as(MembersServiceStub, owner).SetMemberRole(_set(member, narrow.id))
    assert await refused(members.SetMemberRole(_set(member, "viewer"))) == "PERMISSION_MISSING"
    await members.RemoveMember(pb.RemoveMemberRequest(user_id=member.user_id))


async def _again(connect_as: Connect, member: Tenant) -> Tenant:
    answer = await _log_in(connect_as, member)
    return Tenant(member.organization_id, member.user_id, member.email, member.password, answer.access_token.token)


async def _log_in(connect_as: Connect, member: Tenant, organization_id: str = "") -> auth_pb2.LogInResponse:
    request = auth_pb2.LogInRequest(email=member.email, password=member.password, organization_id=organization_id)
    answer: auth_pb2.LogInResponse = await connect_as(AuthServiceStub).LogIn(request)
    return answer
