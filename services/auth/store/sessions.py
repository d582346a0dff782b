"""SQL of sessions."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Row, Statements

INSERT = """
WITH session AS (
    INSERT INTO sessions
        (session_id, organization_id, user_id, device, address, expires_at, parent_id, authenticated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $8, $9)
    RETURNING session_id, organization_id
)
INSERT INTO refresh_tokens (sha256, session_id, organization_id, generation)
SELECT $7, session_id, organization_id, 1 FROM session
"""

COLUMNS = """
session.session_id, session.user_id, session.organization_id, organization.name AS organization_name, session.device,
session.address, session.created_at, session.used_at, session.expires_at, session.ended_at, session.authenticated_at
"""

SELECT_OPEN = f"""
SELECT {COLUMNS}
FROM sessions session JOIN organizations organization USING (organization_id)
WHERE session.user_id = $1 AND ($2::uuid IS NULL OR session.organization_id = $2)
  AND session.ended_at IS NULL AND session.expires_at > now()
ORDER BY session.used_at DESC, session.session_id DESC
LIMIT 1000
"""  # noqa: S608

SELECT_ONE = f"""
SELECT {COLUMNS}
FROM sessions session JOIN organizations organization USING (organization_id)
WHERE session.session_id = $1 AND (session.user_id = $2 OR session.organization_id = $3)
"""  # noqa: S608

SELECT_OTHERS = """
SELECT session_id FROM sessions
WHERE user_id = $1 AND ($2::uuid IS NULL OR organization_id = $2) AND ended_at IS NULL
  AND ($3::uuid IS NULL OR session_id <> $3)
ORDER BY session_id
LIMIT $4
"""

COUNT_OPEN = """
SELECT count(*) AS sessions FROM (
    SELECT FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now() LIMIT $2
) counted
"""

SELECT_OLDEST = """
SELECT session_id FROM sessions
WHERE user_id = $1 AND organization_id = $2 AND ended_at IS NULL AND expires_at > now()
ORDER BY created_at DESC, session_id DESC
OFFSET $3 LIMIT 100
"""

LOCK_OPEN = """
SELECT session_id, authenticated_at FROM sessions
WHERE session_id = $1 AND ended_at IS NULL AND expires_at > now()
FOR SHARE
"""

# Locked in order, so that two that end the same ones wait for each other and never in a circle.
END = """
WITH RECURSIVE family AS (
    SELECT session_id FROM sessions WHERE session_id = ANY($1::uuid[])
    UNION
    SELECT child.session_id FROM sessions child JOIN family ON child.parent_id = family.session_id
    WHERE child.session_id IS DISTINCT FROM $3
), locked AS (
    SELECT session_id FROM sessions JOIN family USING (session_id)
    WHERE ended_at IS NULL
    ORDER BY session_id
    FOR NO KEY UPDATE OF sessions
)
UPDATE sessions SET ended_at = now(), end_reason = $2
WHERE session_id IN (SELECT session_id FROM locked)
RETURNING session_id, organization_id, user_id
"""

DELETE_EXPIRED = """
DELETE FROM sessions WHERE session_id IN (
    SELECT session_id FROM sessions
    WHERE expires_at < now() - interval '1 hour'
      AND NOT EXISTS (SELECT FROM refresh_tokens token WHERE token.session_id = sessions.session_id)
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
"""


async def insert(
    statements: Statements,
    session_id: UUID,
    organization_id: UUID,
    user_id: UUID,
    device: str,
    address: str,
    expires_at: datetime,
    sha256: bytes,
    parent_id: UUID | None,
    authenticated_at: datetime,
) -> None:
    """A session and the hash of its first refresh token."""
    values = (session_id, organization_id, user_id, device, address, expires_at, sha256, parent_id, authenticated_at)
    await statements.execute("INSERT session", INSERT, *values)


async def open_ones(statements: Statements, user_id: UUID, organization_id: UUID | None) -> list[Row]:
    """Those of a user that go on, in one organization or in all."""
    return await statements.fetch("SELECT sessions", SELECT_OPEN, user_id, organization_id)


async def count_open(statements: Statements, user_id: UUID, most: int) -> int:
    """How many of a user go on, counted up to `most`."""
    row = await statements.fetchrow("COUNT sessions", COUNT_OPEN, user_id, most)
    assert row is not None
    return int(row["sessions"])


async def beyond(statements: Statements, user_id: UUID, organization_id: UUID, most: int) -> list[UUID]:
    """Of a user's in one organization, the oldest where there are more than `most`."""
    found = await statements.fetch("SELECT oldest sessions", SELECT_OLDEST, user_id, organization_id, most)
    return [row["session_id"] for row in found]


async def one(
    statements: Statements, session_id: UUID, user_id: UUID | None, organization_id: UUID | None
) -> Row | None:
    """A session that is the user's or in the organization."""
    return await statements.fetchrow("SELECT session", SELECT_ONE, session_id, user_id, organization_id)


async def others(
    statements: Statements, user_id: UUID, organization_id: UUID | None, spared: UUID | None, most: int
) -> list[UUID]:
    """Some that have not ended."""
    found = await statements.fetch("SELECT sessions", SELECT_OTHERS, user_id, organization_id, spared, most)
    return [row["session_id"] for row in found]


async def lock_open(statements: Statements, session_id: UUID) -> Row | None:
    """The session, if it goes on, and it does so until the end of the transaction."""
    return await statements.fetchrow("SELECT session", LOCK_OPEN, session_id)


async def end(statements: Statements, session_ids: Sequence[UUID], reason: str, spared: UUID | None) -> list[Row]:
    """End those, and what sprang from them but for the spared one; returns those that had not ended before."""
    return await statements.fetch("UPDATE sessions", END, session_ids, reason, spared)


async def delete_expired(statements: Statements, most: int) -> int:
    """Forget some that have no tokens any more; returns how many."""
    return int((await statements.execute("DELETE sessions", DELETE_EXPIRED, most)).rpartition(" ")[2])
