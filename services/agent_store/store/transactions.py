"""Transactions of one tenant on the agent store's schema."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

from services.runtime.events import Wake
from services.runtime.postgres import Database, Statements


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
