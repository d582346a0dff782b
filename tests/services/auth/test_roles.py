"""Roles of an organization's own over real gRPC."""

import asyncio
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from neurectomy.auth.v1 import invitations_pb2 as invitations
from neurectomy.auth.v1 import members_pb2 as members
from neurectomy.auth.v1 import roles_pb2 as pb
from neurectomy.auth.v1.invitations_pb2_grpc import InvitationsServiceStub
from neurectomy.auth.v1.members_pb2_grpc import MembersServiceStub
from neurectomy.auth.v1.roles_pb2_grpc import RolesServiceStub
from services.auth.permissions import ROLES
from tests.conftest import Connect, Tenant, register
from tests.services.auth.people import People, outcome, refused


def _update(role: pb.Role, *paths: str, **changes: object) -> pb.UpdateRoleRequest:
    changed = pb.Role(id=role.id, etag=role.etag, **changes)  # type: ignore[arg-type]
    return pb.UpdateRoleRequest(role=changed, update_mask=FieldMask(paths=paths or sorted(changes)))


async def test_built_in_roles_are_there_with_what_they_give(connect_as: Connect, viewer: Tenant) -> None:
    found = (await connect_as(RolesServiceStub, viewer).ListRoles(pb.ListRolesRequest())).roles
    built_in = {role.id: frozenset(role.permissions) for role in found if role.built_in}
    assert built_in == ROLES
    assert all(role.description for role in found if role.built_in)


async def test_a_role_is_made_changed_and_deleted(connect_as: Connect, people: People) -> None:
    owner = await register(connect_as)
    roles = connect_as(RolesServiceStub, owner)
    wanted = pb.Role(name="Curator", description="Keeps knowledge.", permissions=["knowledge:*", "agents:read"])
    made = (await roles.CreateRole(pb.CreateRoleRequest(role=wanted))).role
    assert (made.name, list(made.permissions)) == ("Curator", ["agents:read", "knowledge:*"])
    changed = (await roles.UpdateRole(_update(made, name="Librarian"))).role
    assert (changed.name, changed.description, changed.permissions) == ("Librarian", made.description, made.permissions)
    assert changed.etag != made.etag
    assert [role for role in (await roles.ListRoles(pb.ListRolesRequest())).roles if not role.built_in] == [changed]
    await roles.DeleteRole(pb.DeleteRoleRequest(id=changed.id, etag=changed.etag))
    assert await refused(roles.DeleteRole(pb.DeleteRoleRequest(id=changed.id))) == "ROLE_NOT_FOUND"
    actions = await people.audited(owner.organization_id)
    assert actions[-3:] == ["role.create", "role.update", "role.delete"]


async def test_what_a_role_can_have_is_said_and_can_be_given(
    connect_as: Connect, people: People, owner: Tenant
) -> None:
    answer = await connect_as(RolesServiceStub, owner).ListPermissions(pb.ListPermissionsRequest())
    names = [each.name for each in answer.permissions]
    assert {"agents:read", "members:manage", "organization:write"} <= set(names)
    assert all(each.description.endswith(".") for each in answer.permissions)
    assert list((await people.role(owner, *names)).permissions) == sorted(names)


BAD_ROLES = {
    "no name": (pb.Role(permissions=["agents:read"]), "INVALID_FIELDS"),
    "endless name": (pb.Role(name="x" * 101, permissions=["agents:read"]), "INVALID_FIELDS"),
    "NUL": (pb.Role(name="a\0b", permissions=["agents:read"]), "INVALID_FIELDS"),
    "endless description": (pb.Role(name="x", description="x" * 1_001, permissions=["agents:read"]), "INVALID_FIELDS"),
    "no permission": (pb.Role(name="x"), "INVALID_FIELDS"),
    "no such permission": (pb.Role(name="x", permissions=["agents:fly"]), "INVALID_FIELDS"),
    "no such area": (pb.Role(name="x", permissions=["planes:*"]), "INVALID_FIELDS"),
    "all areas": (pb.Role(name="x", permissions=["*"]), "INVALID_FIELDS"),
    "two in one": (pb.Role(name="x", permissions=["agents:read events:read"]), "INVALID_FIELDS"),
    "too many": (pb.Role(name="x", permissions=[f"a:{n}" for n in range(101)]), "INVALID_FIELDS"),
    "what no role has": (pb.Role(name="x", permissions=["events:read"]), "PERMISSION_MISSING"),
    "an area no role has": (pb.Role(name="x", permissions=["installation:*"]), "PERMISSION_MISSING"),
    "a built-in role's name": (pb.Role(name="OWNER", permissions=["agents:read"]), "ROLE_NAME_TAKEN"),
}


@pytest.mark.parametrize(("role", "expected"), BAD_ROLES.values(), ids=BAD_ROLES)
async def test_a_bad_role_is_refused(
    connect_as: Connect, people: People, owner: Tenant, role: pb.Role, expected: str
) -> None:
    roles = connect_as(RolesServiceStub, owner)
    assert await refused(roles.CreateRole(pb.CreateRoleRequest(role=role))) == expected
    good = await people.role(owner, "agents:read")
    role = pb.Role(name=role.name, description=role.description, permissions=role.permissions)
    request = _update(
        good, "name", "description", "permissions", **{each.name: value for each, value in role.ListFields()}
    )
    assert await refused(roles.UpdateRole(request)) == expected


@pytest.mark.parametrize("paths", [[""], ["id"], ["name", "etag"], ["x" * 5_000], []])
async def test_a_bad_mask_is_refused(connect_as: Connect, people: People, owner: Tenant, paths: list[str]) -> None:
    role = await people.role(owner, "agents:read")
    request = pb.UpdateRoleRequest(role=role, update_mask=FieldMask(paths=paths))
    assert await refused(connect_as(RolesServiceStub, owner).UpdateRole(request)) == "INVALID_FIELDS"


async def test_a_name_is_taken_once_whatever_its_case(connect_as: Connect, people: People, owner: Tenant) -> None:
    roles = connect_as(RolesServiceStub, owner)
    first, second = await people.role(owner, "agents:read"), await people.role(owner, "agents:read")
    same = pb.Role(name=first.name.upper(), permissions=["agents:read"])
    assert await refused(roles.CreateRole(pb.CreateRoleRequest(role=same))) == "ROLE_NAME_TAKEN"
    assert await refused(roles.UpdateRole(_update(second, name=first.name.upper()))) == "ROLE_NAME_TAKEN"


async def test_of_two_changes_at_once_one_is_stale(connect_as: Connect, people: People, owner: Tenant) -> None:
    roles, role = connect_as(RolesServiceStub, owner), await people.role(owner, "agents:read")
    calls = [roles.UpdateRole(_update(role, description=text)) for text in ("one", "two")]
    assert sorted(await asyncio.gather(*map(outcome, calls))) == ["STALE_ETAG", "done"]
    deleting = pb.DeleteRoleRequest(id=role.id, etag=role.etag)
    assert await refused(roles.DeleteRole(deleting)) == "STALE_ETAG"


async def test_built_in_roles_never_change(connect_as: Connect, owner: Tenant) -> None:
    roles = connect_as(RolesServiceStub, owner)
    update = _update(pb.Role(id="viewer"), permissions=["agents:*"])
    assert await refused(roles.UpdateRole(update)) == "INVALID_FIELDS"
    assert await refused(roles.DeleteRole(pb.DeleteRoleRequest(id="viewer"))) == "INVALID_FIELDS"


async def test_roles_of_others_are_not_there(
    connect_as: Connect, people: People, owner: Tenant, other_tenant: Tenant
) -> None:
    role, roles = await people.role(owner, "agents:read"), connect_as(RolesServiceStub, other_tenant)
    assert role.id not in {each.id for each in (await roles.ListRoles(pb.ListRolesRequest())).roles}
    for role_id in (role.id, str(uuid4()), "x" * 5_000):
        foreign = pb.Role(id=role_id)
        assert await refused(roles.UpdateRole(_update(foreign, name="taken over"))) == "ROLE_NOT_FOUND"
        assert await refused(roles.DeleteRole(pb.DeleteRoleRequest(id=role_id))) == "ROLE_NOT_FOUND"


async def test_a_manager_of_roles_has_all_of_those_they_touch(
    connect_as: Connect, people: People, owner: Tenant, viewer: Tenant
) -> None:
    maker = await people.join(owner, (await people.role(owner, "roles:manage", "agents:read")).id)
    above, own = await people.role(owner, "agents:write"), await people.role(owner, "agents:read")
    roles = connect_as(RolesServiceStub, maker)
    beyond = pb.Role(name="beyond", permissions=["agents:*"])
    calls = [
        roles.CreateRole(pb.CreateRoleRequest(role=beyond)),
        roles.UpdateRole(_update(above, permissions=["agents:read"])),
        roles.UpdateRole(_update(own, permissions=["agents:write"])),
        roles.DeleteRole(pb.DeleteRoleRequest(id=above.id)),
        connect_as(RolesServiceStub, viewer).DeleteRole(pb.DeleteRoleRequest(id=own.id)),
    ]
    assert [await refused(call) for call in calls] == ["PERMISSION_MISSING"] * len(calls)
    await roles.DeleteRole(pb.DeleteRoleRequest(id=own.id))


async def test_other_permissions_take_back_the_tokens_of_all_who_have_the_role(
    connect_as: Connect, people: People, owner: Tenant, viewer: Tenant
) -> None:
    role, roles = await people.role(owner, "agents:read"), connect_as(RolesServiceStub, owner)
    bearers = [await people.join(owner, role.id) for _ in range(2)]
    renamed = (await roles.UpdateRole(_update(role, description="only words"))).role
    assert [await people.revoked_version(each) for each in bearers] == [None, None]
    await roles.UpdateRole(_update(renamed, permissions=["knowledge:read"]))
    assert [await people.revoked_version(each) for each in (*bearers, viewer)] == [2, 2, None]


async def test_a_role_in_use_stays(connect_as: Connect, people: People, owner: Tenant) -> None:
    roles, role = connect_as(RolesServiceStub, owner), await people.role(owner, "agents:read")
    deleting = pb.DeleteRoleRequest(id=role.id)
    invitation = await _invite(connect_as, owner, role)
    assert await refused(roles.DeleteRole(deleting)) == "ROLE_IN_USE"
    revoking = invitations.RevokeInvitationRequest(id=invitation.id)
    await connect_as(InvitationsServiceStub, owner).RevokeInvitation(revoking)
    member = await people.join(owner, role.id)
    assert await refused(roles.DeleteRole(deleting)) == "ROLE_IN_USE"
    viewing = members.SetMemberRoleRequest(user_id=member.user_id, role_id="viewer")
    await connect_as(MembersServiceStub, owner).SetMemberRole(viewing)
    await roles.DeleteRole(deleting)


async def test_a_role_is_deleted_or_given_but_not_both(connect_as: Connect, people: People, owner: Tenant) -> None:
    member = await people.join(owner, "viewer")
    for _ in range(5):
        role = await people.role(owner, "agents:read")
        giving = members.SetMemberRoleRequest(user_id=member.user_id, role_id=role.id)
        calls = (
            connect_as(RolesServiceStub, owner).DeleteRole(pb.DeleteRoleRequest(id=role.id)),
            connect_as(MembersServiceStub, owner).SetMemberRole(giving),
        )
        assert await asyncio.gather(*map(outcome, calls)) in (["done", "ROLE_NOT_FOUND"], ["ROLE_IN_USE", "done"])


async def test_there_is_an_end_to_roles(connect_as: Connect, people: People) -> None:
    owner = await register(connect_as)
    async with people.database() as database:
        sql = """
        INSERT INTO auth.roles (role_id, organization_id, name, description, permissions)
        SELECT gen_random_uuid(), $1, 'role ' || n, '', '{agents:read}' FROM generate_series(1, 100) n
        """
        await database.execute(sql, owner.organization_id)
    one_more = pb.CreateRoleRequest(role=pb.Role(name="one more", permissions=["agents:read"]))
    assert await refused(connect_as(RolesServiceStub, owner).CreateRole(one_more)) == "TOO_LARGE"


async def _invite(connect_as: Connect, owner: Tenant, role: pb.Role) -> invitations.Invitation:
    request = invitations.CreateInvitationRequest(email=f"{uuid4()}@example.org", role_id=role.id)
    answer: invitations.CreateInvitationResponse = await connect_as(InvitationsServiceStub, owner).CreateInvitation(
        request
    )
    return answer.invitation
