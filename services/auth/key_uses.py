"""When API keys were used last: kept in memory, and written for many at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import structlog

from services.auth.store import api_keys as rows
from services.runtime.background import in_background
from services.runtime.postgres import Database

PAUSE_SECONDS = 10.0

log = structlog.get_logger()


class KeyUses:
    """One moment for each key: what waits is bounded by the number of keys."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._waiting: dict[UUID, float] = {}

    def note(self, api_key_id: UUID) -> None:
        """It is used now."""
        self._waiting[api_key_id] = self._clock()

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Write in the background, and once more at the end."""
        try:
            async with in_background(self._keep_writing()):
                yield
        finally:
            await self._try_to_write()

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            await self._try_to_write()

    async def _try_to_write(self) -> None:
        try:
            await self.write()
        except Exception as error:  # whatever it is, the next time may be better
            log.warning("uses of API keys are not written", error=repr(error), waiting=len(self._waiting))

    async def write(self) -> None:
        """Write what waits; what cannot be written goes on waiting. Raises DomainError."""
        taken, self._waiting = self._waiting, {}
        if not taken:
            return
        moments = [datetime.fromtimestamp(at, UTC) for at in taken.values()]
        try:
            async with self._database.all_tenants() as statements:
                await rows.write_uses(statements, list(taken), moments)
        except BaseException:
            self._waiting = {**taken, **self._waiting}
            raise
