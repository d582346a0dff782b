"""SQL of signing keys. The database's clock says what each does, so that replicas agree: that of the
statement, since a transaction that waited for the lock has an old one."""

from collections.abc import Sequence

from services.runtime.postgres import Row, Statements

LOCK = "LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"

SELECT = """
WITH followed AS (
    SELECT *, lead(signs_at) OVER (PARTITION BY revoked_at IS NULL ORDER BY signs_at, key_id) AS followed_at
    FROM signing_keys
), ending AS (
    SELECT *, followed_at + make_interval(secs => token_seconds + $1) AS ends_at FROM followed WHERE revoked_at IS NULL
    UNION ALL SELECT *, NULL FROM followed WHERE revoked_at IS NOT NULL
)
SELECT key_id, private_key, sealed_key, created_at, signs_at, ends_at, revoked_at,
       extract(epoch FROM signs_at - statement_timestamp())::float8 AS signs_in,
       CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
            WHEN signs_at > statement_timestamp() THEN 'next'
            WHEN ends_at <= statement_timestamp() THEN 'ended'
            WHEN followed_at <= statement_timestamp() THEN 'verifying'
            ELSE 'signing' END AS state
FROM ending
ORDER BY signs_at, key_id
"""

INSERT = """
INSERT INTO signing_keys (key_id, sealed_key, token_seconds, signs_at)
VALUES ($1, $2, $3, statement_timestamp() + make_interval(secs => $4))
"""

SEAL = "UPDATE signing_keys SET sealed_key = $2, private_key = NULL WHERE key_id = $1"

LENGTHEN = "UPDATE signing_keys SET token_seconds = $1 WHERE token_seconds < $1"

REVOKE = "UPDATE signing_keys SET revoked_at = now(), sealed_key = NULL, private_key = NULL WHERE key_id = $1"

DELETE = "DELETE FROM signing_keys WHERE key_id = ANY($1)"


async def lock(statements: Statements) -> None:
    """One transaction at a time changes keys; readers go on."""
    await statements.execute("LOCK signing_keys", LOCK)


async def select(statements: Statements, slack_seconds: int) -> list[Row]:
    """All keys in the order in which they sign; each verifies for the slack longer than its tokens live."""
    return await statements.fetch("SELECT signing_keys", SELECT, slack_seconds)


async def insert(statements: Statements, *values: object) -> None:
    """Keep a key; values in the order of the statement, the last in how many seconds it signs."""
    await statements.execute("INSERT signing_key", INSERT, *values)


async def seal(statements: Statements, key_id: str, sealed_key: bytes) -> None:
    """Keep what was kept openly sealed instead."""
    await statements.execute("UPDATE signing_key", SEAL, key_id, sealed_key)


async def raise_token_seconds(statements: Statements, seconds: int) -> None:
    """Each key may now sign tokens that live so long."""
    await statements.execute("UPDATE signing_keys", LENGTHEN, seconds)


async def revoke(statements: Statements, key_id: str) -> None:
    """Note it, and forget the private half."""
    await statements.execute("UPDATE signing_key", REVOKE, key_id)


async def delete(statements: Statements, key_ids: Sequence[str]) -> None:
    """Forget keys whole."""
    await statements.execute("DELETE signing_keys", DELETE, key_ids)
