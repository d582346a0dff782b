"""The gateway's clients."""

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from deploy.local.stack import Stack
from tests.gateway.clients import Client, World, make_world


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway's HTTP."""
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=30, trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def stranger(http: httpx.AsyncClient) -> Client:
    """A caller without a token."""
    return Client(http)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def world(stranger: Client) -> World:
    """Made through the API, and to be read only."""
    return await make_world(stranger)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def other_world(stranger: Client) -> World:
    """Another organization, of the same make."""
    return await make_world(stranger)
