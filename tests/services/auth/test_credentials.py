"""A password that was right a moment ago: nothing begins with it once what it proved has changed."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from neurectomy.auth.v1 import passwords_pb2 as pb
from neurectomy.auth.v1.passwords_pb2_grpc import PasswordsServiceStub
from services.auth.attempts import Attempts, Limits
from services.auth.credentials import Credentials, Proven
from services.auth.origin import Origin
from services.auth.passwords import HashingPool, Passwords, Profile
from services.auth.store.attempts import LocalCounters
from services.runtime.errors import CredentialsInvalid
from services.runtime.postgres import Database
from tests.conftest import PASSWORD, Connect, Tenant
from tests.services.auth.conftest import do

NEW = "another horse battery staple"
RAISE_VERSION = "UPDATE memberships SET version = version + 1 WHERE user_id = $1"
LEAVE = "DELETE FROM memberships WHERE user_id = $1"


@pytest.fixture(scope="module")
def credentials(database: Database) -> Iterator[Credentials]:
    """As the process checks them."""
    with HashingPool(64, 64, 64) as pool:
        passwords = Passwords(Profile.RFC_9106_LOW_MEMORY, pool)
        yield Credentials(database, passwords, Attempts(LocalCounters(), b"key", Limits()))


async def held(database: Database, tenant: Tenant, proven: Proven) -> bool:
    try:
        async with database.tenant(tenant.organization_id) as statements:
            await proven.hold(statements)
    except CredentialsInvalid:
        return False
    return True


async def test_a_proof_stands_while_nothing_changes(
    database: Database, tenant: Tenant, credentials: Credentials
) -> None:
    proven = await credentials.prove(tenant.email, PASSWORD, None, Origin())
    assert await held(database, tenant, proven)


async def test_a_proof_ends_with_the_password(
    database: Database, connect_as: Connect, tenant: Tenant, credentials: Credentials
) -> None:
    proven = await credentials.prove(tenant.email, PASSWORD, None, Origin())
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW)
    await connect_as(PasswordsServiceStub, tenant).ChangePassword(request)
    assert not await held(database, tenant, proven)


@pytest.mark.parametrize("change", [RAISE_VERSION, LEAVE])
async def test_a_proof_ends_with_the_membership(
    database: Database, tenant: Tenant, credentials: Credentials, change: str
) -> None:
    proven = await credentials.prove(tenant.email, PASSWORD, None, Origin())
    await do(database, change, UUID(tenant.user_id))
    assert not await held(database, tenant, proven)
