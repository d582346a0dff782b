"""What a member could do before is refused soon after a change: by verifiers, without waiting for the token to end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from neurectomy.auth.v1 import members_pb2 as members
from neurectomy.auth.v1 import roles_pb2 as roles
from neurectomy.auth.v1.members_pb2_grpc import MembersServiceStub
from neurectomy.auth.v1.roles_pb2_grpc import RolesServiceStub
from tests.conftest import Connect, Tenant
from tests.services.auth.people import People, outcome

Change = Callable[[Connect, Tenant, Tenant, roles.Role], Awaitable[object]]


def _demote(connect_as: Connect, owner: Tenant, member: Tenant, role: roles.Role) -> Awaitable[object]:
    request = members.SetMemberRoleRequest(user_id=member.user_id, role_id="viewer")
    return connect_as(MembersServiceStub, owner).SetMemberRole(request)  # type: ignore[no-any-return]


def _remove(connect_as: Connect, owner: Tenant, member: Tenant, role: roles.Role) -> Awaitable[object]:
    request = members.RemoveMemberRequest(user_id=member.user_id)
    return connect_as(MembersServiceStub, owner).RemoveMember(request)  # type: ignore[no-any-return]


def _narrow(connect_as: Connect, owner: Tenant, member: Tenant, role: roles.Role) -> Awaitable[object]:
    narrower = roles.Role(id=role.id, permissions=["agents:read"])
    request = roles.UpdateRoleRequest(role=narrower, update_mask=FieldMask(paths=["permissions"]))
    return connect_as(RolesServiceStub, owner).UpdateRole(request)  # type: ignore[no-any-return]


@pytest.mark.parametrize("change", [_demote, _remove, _narrow])
async def test_old_tokens_die(connect_as: Connect, people: People, owner: Tenant, change: Change) -> None:
    role = await people.role(owner, "members:read", "agents:read")
    member = await people.join(owner, role.id)
    listing = members.ListMembersRequest()
    assert await outcome(connect_as(MembersServiceStub, member).ListMembers(listing)) == "done"
    await change(connect_as, owner, member, role)
    async with asyncio.timeout(20):  # a second by rights; a machine may stall
        while True:
            if await outcome(connect_as(MembersServiceStub, member).ListMembers(listing)) == "TOKEN_REVOKED":
                return
            await asyncio.sleep(0.02)
