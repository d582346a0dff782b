"""Tells of revocations: to this process's own verifier, and by Redis to all others.

Every replica does all of it: what is told twice, or late, has no effect.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress

import structlog

from services.auth.store import revocations as rows
from services.auth.told import Told
from services.runtime.background import in_background
from services.runtime.events import Wake
from services.runtime.postgres import Database, Row
from services.runtime.revocations import Revocation
from services.runtime.verifier import Verifier

LOOK_SECONDS = 0.25
"""How late a revocation can be that another replica committed."""
COMMIT_SECONDS = 0.01
"""Whoever wakes us is about to commit."""
PAUSE_SECONDS = 1.0
SWEEP_SECONDS = 60.0

log = structlog.get_logger()


class Relay:
    """Looks for what is new, and tells it; what was not told for certain is told again."""

    def __init__(self, database: Database, verifier: Verifier, told: Told, wake: Wake) -> None:
        self._database = database
        self._verifier = verifier
        self._told = told
        self._wake = wake
        self._since = 0
        self._seen: dict[str, int] = {}
        """What was told already, of what will be found again while a transaction of its time is in progress."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Tell in the background."""
        return in_background(self._run())

    async def _run(self) -> None:
        swept = time.monotonic()
        while True:
            call = self._wake.next()
            try:
                await self.look()
                if time.monotonic() - swept > SWEEP_SECONDS:
                    await self._sweep()
                    swept = time.monotonic()
            except Exception as error:  # whatever it is, revocations must not stop for good
                log.warning("revocations are not told", error=repr(error), again_in=PAUSE_SECONDS)
                await asyncio.sleep(PAUSE_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(call.wait(), LOOK_SECONDS)
            await asyncio.sleep(COMMIT_SECONDS)

    async def look(self) -> None:
        """Tell what is new. Raises StoreUnavailable when some of it could not be told."""
        async with self._database.all_tenants(read_only=True) as statements:
            oldest = await rows.oldest_in_progress(statements)
            found = await rows.since(statements, self._since)
        fresh = [row for row in found if self._seen.get(_of(row).name) != row["changed_in"]]
        for row in fresh:
            self._verifier.forget(_of(row).name)
        await self._tell(fresh)
        self._since = oldest
        self._seen = {_of(row).name: row["changed_in"] for row in found if row["changed_in"] >= oldest}

    async def _tell(self, fresh: Sequence[Row]) -> None:
        if not fresh and not self._told.is_due():
            return
        if await self._told.has_the_rest():
            await self._told.tell(_pairs(fresh))
        else:
            async with self._database.all_tenants(read_only=True) as statements:
                everything = await rows.since(statements, 0)
            await self._told.tell_all(_pairs(everything))

    async def _sweep(self) -> None:
        async with self._database.all_tenants() as statements:
            await rows.delete_expired(statements)


def _of(row: Row) -> Revocation:
    return Revocation(row["kind"], row["key"], row["organization_id"], row["version"])


def _pairs(found: Sequence[Row]) -> list[tuple[Revocation, float]]:
    return [(_of(row), row["expires_at"].timestamp()) for row in found]
