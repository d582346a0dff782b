"""The end of sessions: each is told to the verifiers and written down in its organization's audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.auth.audit import Entry, append
from services.auth.revocations import Revocations, of_session
from services.auth.store import sessions as rows
from services.runtime.postgres import Row, Statements

SLICE = 100
MOST_OPEN = 500
"""Sessions of one user in one organization: many more could not be ended within the time of a call."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Who ends sessions, and why."""

    reason: str
    """`log_out`, `revoke`, `reuse` (of a refresh token), `removal` (of the member), `password` (a new one),
    `second_factor` (switched on) or `crowd` (of later ones). Entries are named for it."""
    actor: str = ""
    actor_type: str = "stranger"
    address: str = ""


class Ending:
    """Ends sessions, and with each those that were begun from it."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations

    async def end(
        self, statements: Statements, session_ids: Sequence[UUID], cause: Cause, spared: UUID | None = None
    ) -> int:
        """End them and what sprang from them, but for the spared one; returns how many had not ended before.

        To be called, in a transaction that sees their organizations, before anything is audited: whoever waits for a
        session must not hold a chain of entries that others wait for.
        """
        ended: list[Row] = []
        while more := await rows.end(statements, session_ids, cause.reason, spared):  # some sprang while it waited
            ended += more
        for row in sorted(ended, key=lambda row: (row["organization_id"], row["session_id"])):
            await append(statements, row["organization_id"], _entry(row, cause))
            await self._revocations.revoke(statements, of_session(row["organization_id"], row["session_id"]))
        return len(ended)

    async def end_all_of(
        self,
        statements: Statements,
        user_id: UUID,
        organization_id: UUID | None,
        cause: Cause,
        spared: UUID | None = None,
    ) -> int:
        """End all of a user's, in one organization or, given a transaction that sees all of them, in each."""
        ended = 0
        while more := await self.end_some_of(statements, user_id, organization_id, cause, spared):
            ended += more
        return ended

    async def make_room(self, statements: Statements, user_id: UUID, organization_id: UUID, cause: Cause) -> None:
        """Before a log-in: the oldest beyond MOST_OPEN end, so that all of them can always be ended at once."""
        if session_ids := await rows.beyond(statements, user_id, organization_id, MOST_OPEN - 1):
            await self.end(statements, session_ids, cause)

    async def end_some_of(
        self,
        statements: Statements,
        user_id: UUID,
        organization_id: UUID | None,
        cause: Cause,
        spared: UUID | None = None,
    ) -> int:
        """A slice of them, for whoever has a transaction for each."""
        session_ids = await rows.others(statements, user_id, organization_id, spared, SLICE)
        return await self.end(statements, session_ids, cause, spared) if session_ids else 0


def _entry(row: Row, cause: Cause) -> Entry:
    user_id = str(row["user_id"])
    details = {} if user_id == cause.actor else {"user": user_id}
    target = str(row["session_id"])
    return Entry(f"session.{cause.reason}", cause.actor, cause.actor_type, target, cause.address, details)
