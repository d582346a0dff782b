"""What the tests of auth share."""

import pytest_asyncio

from deploy.local.stack import Stack
from tests.conftest import Connect, Tenant, register
from tests.services.auth.people import People


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
