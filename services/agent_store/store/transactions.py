"""Transactions of one tenant on the agent store's schema."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

import asyncpg

from services.runtime.events import Wake
from services.runtime.postgres import Database, Row, Statements, jsonb_as_objects


class Store:
    """What the SQL of agents, versions, executions and relations runs on."""

    def __init__(self, database: Database, wake: Wake) -> None:
        self._database = database
        self._wake = wake

    def reading(self, tenant: UUID) -> AbstractAsyncContextManager[Statements]:
        """A transaction that changes nothing."""
        return self._database.tenant(tenant, read_only=True)

    @asynccontextmanager
    async def changing(self, tenant: UUID) -> AsyncIterator[Statements]:
        """A transaction whose commit is told to whoever waits for events."""
        async with self._database.tenant(tenant) as statements:
            yield statements
        self._wake.call()


async def prepare_connection(connection: "asyncpg.Connection[Row]") -> None:
    """For postgres.connect. Lists read a page in an index's order, whatever the planner thinks of how few rows a tenant
    has: a bitmap scan reads all of them to sort them, and a plan is kept for large and small tenants alike."""
    await jsonb_as_objects(connection)
    await connection.execute("SET enable_bitmapscan = off")
