"""People in organizations: whoever is invited, and joins."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest

from deploy.local.postgres import OWNER
from deploy.local.stack import Stack
from neurectomy.auth.v1 import invitations_pb2 as invitations
from neurectomy.auth.v1 import roles_pb2 as roles
from neurectomy.auth.v1.invitations_pb2_grpc import InvitationsServiceStub
from neurectomy.auth.v1.roles_pb2_grpc import RolesServiceStub
from services.auth.invitations import CODE_PREFIX, digest
from tests.conftest import PASSWORD, Connect, Tenant, reason


@dataclass(frozen=True, slots=True)
class People:
    """Makes members."""

    stack: Stack
    connect_as: Connect

    async def invite(self, inviter: Tenant, role_id: str, email: str = "") -> str:
        """The code of a new invitation."""
        request = invitations.CreateInvitationRequest(email=email or f"{uuid4()}@example.org", role_id=role_id)
        answer = await self.connect_as(InvitationsServiceStub, inviter).CreateInvitation(request)
        return await self.code(answer.invitation.id)

    async def code(self, invitation_id: str) -> str:
        """Another code for an invitation, in place of the one that only its mail has."""
        code = f"{CODE_PREFIX}{secrets.token_urlsafe(32)}"
        sql = "UPDATE auth.invitations SET sha256 = $1 WHERE invitation_id = $2"
        async with self.database() as database:
            await database.execute(sql, digest(code), UUID(invitation_id))
        return code

    async def accept(self, code: str, caller: Tenant | str | None = None, **given: Any) -> Any:
        """The answer to whoever gives a code."""
        request = invitations.AcceptInvitationRequest(code=code, **given)
        return await self.connect_as(InvitationsServiceStub, caller).AcceptInvitation(request)

    async def join(self, inviter: Tenant, role_id: str) -> Tenant:
        """A new user, who has joined by an invitation."""
        code = await self.invite(inviter, role_id)
        joined = await self.accept(code, password=PASSWORD, display_name="Joined")
        email, token = joined.user.email, joined.access_token.token
        return Tenant(UUID(joined.organization.id), joined.user.id, email, PASSWORD, token)

    async def role(self, owner: Tenant, *permissions: str) -> roles.Role:
        """A new role of the owner's organization."""
        role = roles.Role(name=f"Role {uuid4()}", permissions=permissions)
        made: roles.Role = (
            await self.connect_as(RolesServiceStub, owner).CreateRole(roles.CreateRoleRequest(role=role))
        ).role
        return made

    async def is_revoked(self, api_key_id: UUID) -> bool:
        """Whether a key has ended for good."""
        sql = "SELECT revoked_at IS NOT NULL FROM auth.api_keys WHERE api_key_id = $1"
        async with self.database() as database:
            return bool(await database.fetchval(sql, api_key_id))

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """The database as its owner, whom no row-level security holds."""
        connection = await asyncpg.connect(self.stack.database_url(OWNER))
        try:
            yield connection
        finally:
            await connection.close()

    async def revoked_version(self, member: Tenant) -> int | None:
        """Below which version a member's tokens are revoked."""
        sql = "SELECT version FROM auth.revocations WHERE kind = 'member' AND key = $1"
        async with self.database() as database:
            version: int | None = await database.fetchval(sql, f"{member.organization_id}/{member.user_id}")
        return version

    async def audited(self, organization_id: UUID) -> list[str]:
        """The actions in an organization's audit log."""
        sql = "SELECT action FROM auth.audit_entries WHERE organization_id = $1 ORDER BY sequence"
        async with self.database() as database:
            return [row["action"] for row in await database.fetch(sql, organization_id)]


async def refused(call: Any) -> str:
    """The reason with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)


async def outcome(call: Any) -> str:
    """The reason with which a call fails, or that it does not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return "done"
