"""SQL of changing passwords, and of the codes that reset them."""

from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Row, Statements

REPLACE = "UPDATE users SET password_hash = $2 WHERE user_id = $1 AND password_hash = $3"

CHANGE = """
UPDATE users SET password_hash = $2, password_version = password_version + 1
WHERE user_id = $1 AND password_hash = $3
"""

SET = """
UPDATE users SET password_hash = $2, password_version = password_version + 1 WHERE user_id = $1
RETURNING email
"""

LOCK_PROVEN = """
SELECT FROM users u JOIN memberships m USING (user_id)
WHERE u.user_id = $1 AND u.password_version = $2 AND m.organization_id = $3 AND m.version = $4
FOR SHARE
"""

SELECT_USER = "SELECT user_id, email, password_hash FROM users WHERE user_id = $1"

INSERT_RESET = """
WITH over AS (
    DELETE FROM password_resets WHERE expires_at < now() - interval '1 day'
)
INSERT INTO password_resets (sha256, user_id, expires_at) VALUES ($1, $2, $3)
"""

SELECT_RESET = """
SELECT user_id FROM password_resets
WHERE sha256 = $1 AND used_at IS NULL AND expires_at > now() AND user_id IS NOT NULL
"""

USE_RESET = """
UPDATE password_resets SET used_at = now()
WHERE sha256 = $1 AND used_at IS NULL AND expires_at > now() AND user_id IS NOT NULL
RETURNING user_id
"""

SPOIL_RESETS = "UPDATE password_resets SET used_at = now() WHERE user_id = $1 AND used_at IS NULL"


async def replace(statements: Statements, user_id: UUID, password_hash: str, before: str) -> None:
    """Store another hash of the same password, if the user's is still the one before."""
    await statements.execute("UPDATE password", REPLACE, user_id, password_hash, before)


async def change(statements: Statements, user_id: UUID, password_hash: str, before: str) -> bool:
    """Store the hash of another password if the user's is still the one before; say whether it was."""
    tag = await statements.execute("UPDATE password", CHANGE, user_id, password_hash, before)
    return tag == "UPDATE 1"


async def stands(
    statements: Statements, user_id: UUID, password_version: int, organization_id: UUID, version: int
) -> bool:
    """Whether neither password nor membership has changed; they do not before the transaction ends."""
    values = (user_id, password_version, organization_id, version)
    return await statements.fetchrow("LOCK user", LOCK_PROVEN, *values) is not None


async def store(statements: Statements, user_id: UUID, password_hash: str) -> str:
    """Store the hash of another password; returns the user's e-mail address."""
    row = await statements.fetchrow("UPDATE password", SET, user_id, password_hash)
    assert row is not None
    return str(row["email"])


async def user(statements: Statements, user_id: UUID) -> Row | None:
    """A user with their hash."""
    return await statements.fetchrow("SELECT user", SELECT_USER, user_id)


async def insert_reset(statements: Statements, sha256: bytes, user_id: UUID | None, expires_at: datetime) -> None:
    """Keep the hash of a code; that of nobody's is never good."""
    await statements.execute("INSERT password_reset", INSERT_RESET, sha256, user_id, expires_at)


async def reset(statements: Statements, sha256: bytes) -> UUID | None:
    """Whose password the code resets, if it is good."""
    row = await statements.fetchrow("SELECT password_reset", SELECT_RESET, sha256)
    return row["user_id"] if row else None


async def use_reset(statements: Statements, sha256: bytes) -> UUID | None:
    """The same, and the code is used up; of two at once, one gets it."""
    row = await statements.fetchrow("UPDATE password_reset", USE_RESET, sha256)
    return row["user_id"] if row else None


async def spoil_resets(statements: Statements, user_id: UUID) -> None:
    """No code of the user's is good any more."""
    await statements.execute("UPDATE password_resets", SPOIL_RESETS, user_id)
