"""SQL of second factors and recovery codes."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Row, Statements

SELECT_ACCOUNT = """
SELECT u.email, u.password_hash, f.enabled_at
FROM users u LEFT JOIN second_factors f USING (user_id)
WHERE u.user_id = $1
"""

SELECT_STATE = """
SELECT f.enabled_at, (SELECT count(*) FROM recovery_codes c WHERE c.user_id = f.user_id) AS codes_left
FROM second_factors f
WHERE f.user_id = $1 AND f.enabled_at IS NOT NULL
"""

# No lock of the user's row, which others of our transactions wait for while they hold what these want.
SHARE_USER = "SELECT pg_advisory_xact_lock_shared(hashtextextended('second factor ' || $1::uuid, 0))"
LOCK_USER = "SELECT pg_advisory_xact_lock(hashtextextended('second factor ' || $1::uuid, 0))"
LOCK_FACTOR = "SELECT secret, begun_at, enabled_at, last_step FROM second_factors WHERE user_id = $1 FOR UPDATE"

UPSERT = """
INSERT INTO second_factors AS factor (user_id, secret, begun_at) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, begun_at = excluded.begun_at
WHERE factor.enabled_at IS NULL
RETURNING user_id
"""

ENABLE = "UPDATE second_factors SET enabled_at = $2 WHERE user_id = $1"
USE_STEP = "UPDATE second_factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2 RETURNING last_step"
DELETE = "DELETE FROM second_factors WHERE user_id = $1"

REPLACE_CODES = """
WITH gone AS (DELETE FROM recovery_codes WHERE user_id = $1)
INSERT INTO recovery_codes (user_id, sha256) SELECT $1, unnest($2::bytea[])
"""

USE_CODE = "DELETE FROM recovery_codes WHERE user_id = $1 AND sha256 = $2 RETURNING user_id"


async def account(statements: Statements, user_id: UUID) -> Row | None:
    """A user's address and password hash, and since when the second factor is on."""
    return await statements.fetchrow("SELECT account", SELECT_ACCOUNT, user_id)


async def state(statements: Statements, user_id: UUID) -> Row | None:
    """A factor that is on, and how many recovery codes are left."""
    return await statements.fetchrow("SELECT second_factor", SELECT_STATE, user_id)


async def share_user(statements: Statements, user_id: UUID) -> None:
    """Until the transaction ends, nobody switches the user's factor on."""
    await statements.execute("SHARE user", SHARE_USER, user_id)


async def lock_user(statements: Statements, user_id: UUID) -> None:
    """Wait for the user's log-ins that are under way, and keep others out until the transaction ends."""
    await statements.execute("LOCK user", LOCK_USER, user_id)


async def lock(statements: Statements, user_id: UUID) -> Row | None:
    """The user's factor or enrolment, for this transaction alone: codes are tried one after the other."""
    return await statements.fetchrow("LOCK second_factor", LOCK_FACTOR, user_id)


async def begin(statements: Statements, user_id: UUID, sealed: bytes, at: datetime) -> bool:
    """Keep the secret of an enrolment in place of the one before; not where a factor is on."""
    return await statements.fetchrow("UPSERT second_factor", UPSERT, user_id, sealed, at) is not None


async def enable(statements: Statements, user_id: UUID, at: datetime) -> None:
    """Make a factor of an enrolment."""
    await statements.execute("UPDATE second_factor", ENABLE, user_id, at)


async def delete(statements: Statements, user_id: UUID) -> None:
    """Forget a factor and its recovery codes."""
    await statements.execute("DELETE second_factor", DELETE, user_id)


async def use_step(statements: Statements, user_id: UUID, step: int) -> bool:
    """Whether no code of that time step or a later one was used before; now one was."""
    return await statements.fetchrow("UPDATE last_step", USE_STEP, user_id, step) is not None


async def use_code(statements: Statements, user_id: UUID, sha256: bytes) -> bool:
    """Whether there was such a recovery code; now there is none."""
    return await statements.fetchrow("DELETE recovery_code", USE_CODE, user_id, sha256) is not None


async def replace_codes(statements: Statements, user_id: UUID, digests: Sequence[bytes]) -> None:
    """These are the user's recovery codes, and no others."""
    await statements.execute("REPLACE recovery_codes", REPLACE_CODES, user_id, digests)
