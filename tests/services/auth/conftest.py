"""An audit log to tamper with."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio

from deploy.local.stack import Stack
from services.runtime import postgres
from tests.services.auth.audit_logs import CHAIN, LENGTH, OTHER, Log
from tests.services.auth.databases import own_database


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def module_log(stack: Stack) -> AsyncIterator[Log]:
    async with AsyncExitStack() as resources:
        own = await resources.enter_async_context(own_database(stack))
        connected = postgres.connect(own.url(), init=postgres.jsonb_as_objects)
        log = Log(own, await resources.enter_async_context(connected))
        await log.append(OTHER, LENGTH)
        yield log


@pytest_asyncio.fixture(loop_scope="session")
async def log(module_log: Log) -> Log:
    """With a chain as it was written."""
    others = f"WHERE organization_id <> '{OTHER}'"
    await module_log.tamper(f"DELETE FROM audit_entries {others}", f"DELETE FROM audit_chains {others}")
    await module_log.append(CHAIN, LENGTH)
    assert await module_log.broken() is None
    return module_log
