"""What the tests of auth share."""

from collections.abc import AsyncIterator, Awaitable
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from neurectomy.auth.v1 import auth_pb2 as pb
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.runtime import postgres
from services.runtime.postgres import Database
from tests.conftest import Connect, Tenant, reason, register
from tests.services.auth.people import People

AUDIT = "SELECT * FROM audit_entries WHERE organization_id = $1 AND action = $2 ORDER BY sequence"
SESSION_REVOCATION = "SELECT FROM revocations WHERE kind = 'session' AND key = $1"
JOIN = "INSERT INTO memberships (organization_id, user_id, role) VALUES ($1, $2, $3)"


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def people(stack: Stack, connect_as: Connect) -> People:
    """Makes members."""
    return People(stack, connect_as)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def owner(connect_as: Connect) -> Tenant:
    """The owner of an organization that a file's tests share."""
    return await register(connect_as)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def admin(people: People, owner: Tenant) -> Tenant:
    """An admin in it."""
    return await people.join(owner, "admin")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def viewer(people: People, owner: Tenant) -> Tenant:
    """A viewer in it."""
    return await people.join(owner, "viewer")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def database(stack: Stack) -> AsyncIterator[Database]:
    """As the service's own role."""
    async with postgres.connect(stack.database_url("auth"), init=postgres.jsonb_as_objects) as connected:
        yield connected


async def log_in(connect_as: Connect, tenant: Tenant, organization_id: UUID | None = None) -> pb.LogInResponse:
    """Once more, on another device."""
    organization = str(organization_id or tenant.organization_id)
    request = pb.LogInRequest(email=tenant.email, password=tenant.password, organization_id=organization)
    answer: pb.LogInResponse = await connect_as(AuthServiceStub).LogIn(request)
    return answer


async def do(database: Database, sql: str, *values: object) -> list[Any]:
    """The rows of a statement that sees all organizations."""
    async with database.all_tenants() as statements:
        return await statements.fetch("test", sql, *values)


async def refused(call: Awaitable[Any]) -> str:
    """Why a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)


async def join(database: Database, member: Tenant, organization_id: UUID, role: str) -> None:
    """Make a user a member of another organization."""
    await do(database, JOIN, organization_id, UUID(member.user_id), role)


def unknown_ids(other: str) -> list[str]:
    """Ids of nothing, of something of another organization, and of no form at all."""
    return [str(uuid4()), other, "no uuid", "", "\0", "x" * 10_000]
