"""SQL of refresh tokens. All of it is done under a lock on the session, so that its tokens change one after another."""

from datetime import datetime

from services.runtime.postgres import Row, Statements

KEPT_GENERATIONS = 10_000
"""Of one session: more than a token a minute for a week, so that who refreshes without end fills no disk."""

LOCK_SESSION = """
SELECT session_id, organization_id, user_id, ended_at, expires_at, expires_at <= now() AS expired
FROM sessions WHERE session_id = (SELECT session_id FROM refresh_tokens WHERE sha256 = $1)
FOR NO KEY UPDATE
"""

# In a statement behind the lock's: that one would show the token as it was before it waited.
SELECT = """
SELECT token.rotated_at, token.rotated_at > now() - make_interval(secs => $3) AND EXISTS (
    SELECT FROM refresh_tokens successor WHERE successor.sha256 = $2 AND successor.rotated_at IS NULL
) AS in_grace
FROM refresh_tokens token WHERE token.sha256 = $1
"""

ROTATE = """
WITH rotated AS (
    UPDATE refresh_tokens SET rotated_at = now() WHERE sha256 = $1 RETURNING session_id, organization_id, generation
), successor AS (
    INSERT INTO refresh_tokens (sha256, session_id, organization_id, generation)
    SELECT $2, session_id, organization_id, generation + 1 FROM rotated
), forgotten AS (
    DELETE FROM refresh_tokens old USING rotated
    WHERE old.session_id = rotated.session_id AND old.generation <= rotated.generation - $7
)
UPDATE sessions SET used_at = now(), device = $3, address = $4, expires_at = least(
    now() + make_interval(secs => $5), authenticated_at + make_interval(secs => $6)
)
WHERE session_id = (SELECT session_id FROM rotated)
RETURNING expires_at
"""

# A token that was rotated before its own end is remembered until then, for whoever uses it again is noticed by it.
DELETE_OLD = """
DELETE FROM refresh_tokens WHERE sha256 IN (
    SELECT sha256 FROM refresh_tokens WHERE rotated_at < now() - make_interval(secs => $1)
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
"""

DELETE_EXPIRED = """
DELETE FROM refresh_tokens WHERE sha256 IN (
    SELECT token.sha256 FROM sessions JOIN refresh_tokens token USING (session_id)
    WHERE sessions.expires_at < now() - interval '1 hour'
    LIMIT $1
    FOR UPDATE OF token SKIP LOCKED
)
"""


async def lock_session(statements: Statements, sha256: bytes) -> Row | None:
    """The session of a token, which nobody else changes until the end of the transaction."""
    return await statements.fetchrow("SELECT session", LOCK_SESSION, sha256)


async def get(statements: Statements, sha256: bytes, successor: bytes, grace: float) -> Row | None:
    """A token, and whether it was rotated so lately that its successor, not used yet, may be had again."""
    return await statements.fetchrow("SELECT refresh_token", SELECT, sha256, successor, grace)


async def rotate(
    statements: Statements, sha256: bytes, successor: bytes, device: str, address: str, idle: float, most: float
) -> datetime:
    """Let the successor take a token's place; returns when the session ends now."""
    values = (sha256, successor, device, address, idle, most, KEPT_GENERATIONS)
    row = await statements.fetchrow("UPDATE refresh_token", ROTATE, *values)
    assert row is not None
    expires_at: datetime = row["expires_at"]
    return expires_at


async def delete_old(statements: Statements, seconds: float, most: int) -> int:
    """Forget some that were rotated so long ago; returns how many."""
    return _number(await statements.execute("DELETE refresh_tokens", DELETE_OLD, seconds, most))


async def delete_expired(statements: Statements, most: int) -> int:
    """Forget some of sessions that are past their end; returns how many."""
    return _number(await statements.execute("DELETE refresh_tokens", DELETE_EXPIRED, most))


def _number(command_tag: str) -> int:
    return int(command_tag.rpartition(" ")[2])
