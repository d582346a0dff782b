"""What is taken back before its time: written in the transaction of the deed, and told to every verifier."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from services.auth.audit import INSTALLATION
from services.auth.store import revocations as rows
from services.runtime.events import Wake
from services.runtime.postgres import Statements
from services.runtime.revocations import Revocation

SPARE_SECONDS = 60
"""How much longer than any token a revocation lives, for clocks that differ."""


def of_session(organization_id: UUID, session_id: UUID) -> Revocation:
    """A session has ended."""
    return Revocation("session", str(session_id), organization_id)


def of_member(organization_id: UUID, user_id: UUID, version: int) -> Revocation:
    """What a member may do has changed; `version` is the membership's new one, one more than the last if removed."""
    return Revocation("member", f"{organization_id}/{user_id}", organization_id, version)


def of_api_key(organization_id: UUID, api_key_id: UUID) -> Revocation:
    """A key must be looked up again."""
    return Revocation("api_key", str(api_key_id), organization_id)


def of_signing_key(key_id: str) -> Revocation:
    """No token of this key is good any more, whosever it is."""
    return Revocation("signing_key", key_id, INSTALLATION)


class Revocations:
    """Keeps them for as long as a token can live, and wakes whoever tells them."""

    def __init__(self, token_seconds: int, clock: Callable[[], float] = time.time, wake: Wake | None = None) -> None:
        self._seconds = token_seconds + SPARE_SECONDS
        self._clock = clock
        self._wake = wake

    async def revoke(self, statements: Statements, revocation: Revocation) -> None:
        """Takes effect with the commit of the transaction, which must see the organization or all of them."""
        await self.revoke_all(statements, revocation.organization_id, [revocation])

    async def revoke_all(
        self, statements: Statements, organization_id: UUID, revocations: Sequence[Revocation]
    ) -> None:
        """Several of one organization, each key once, as `revoke`."""
        kinds, keys = [each.kind for each in revocations], [each.key for each in revocations]
        versions = [each.version for each in revocations]
        expires_at = datetime.fromtimestamp(self._clock() + self._seconds, UTC)
        await rows.upsert(statements, kinds, keys, organization_id, versions, expires_at)
        if self._wake is not None:
            self._wake.call()
