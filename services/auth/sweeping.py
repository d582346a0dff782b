"""Forgets sessions and refresh tokens that are past their end, a few at a time, so that nobody waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from services.auth.store import refresh_tokens, sessions
from services.runtime.postgres import Database, Statements

BATCH = 500
PAUSE_SECONDS = 60.0

log = structlog.get_logger()


class Sweeping:
    """Any number of processes may be at it: each passes over what another has in hand."""

    def __init__(self, database: Database, refresh_seconds: float, batch: int = BATCH) -> None:
        self._database = database
        self._steps: tuple[Callable[[Statements], Awaitable[int]], ...] = (
            partial(refresh_tokens.delete_old, seconds=refresh_seconds, most=batch),
            partial(refresh_tokens.delete_expired, most=batch),
            partial(sessions.delete_expired, most=batch),
        )

    async def keep(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                while await self.sweep():
                    pass
            except Exception as error:  # whatever it is, sweeping must not stop for good
                log.warning("sessions are not swept", error=repr(error), again_in=PAUSE_SECONDS)
            await asyncio.sleep(PAUSE_SECONDS)

    async def sweep(self) -> int:
        """A batch of each kind; returns how many rows are gone. Raises DomainError."""
        gone = 0
        for step in self._steps:
            async with self._database.all_tenants() as statements:
                gone += await step(statements)
        return gone
