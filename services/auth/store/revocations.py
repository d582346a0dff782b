"""SQL of revocations."""

from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Row, Statements

UPSERT = """
INSERT INTO revocations AS revocation (kind, key, organization_id, version, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (kind, key) DO UPDATE SET
    version = greatest(revocation.version, excluded.version),
    expires_at = greatest(revocation.expires_at, excluded.expires_at),
    changed_in = pg_current_xact_id()
"""

SELECT_OLDEST = "SELECT pg_snapshot_xmin(pg_current_snapshot()) AS oldest"

SELECT_SINCE = """
SELECT kind, key, organization_id, version, expires_at, changed_in
FROM revocations
WHERE changed_in >= $1 AND expires_at > now()
"""

DELETE_EXPIRED = "DELETE FROM revocations WHERE expires_at < now()"


async def upsert(
    statements: Statements, kind: str, key: str, organization_id: UUID, version: int, expires_at: datetime
) -> None:
    """Keep one until it expires; of two for the same key, what reaches further."""
    await statements.execute("UPSERT revocation", UPSERT, kind, key, organization_id, version, expires_at)


async def oldest_in_progress(statements: Statements) -> int:
    """The transaction below which all have ended, and are to be seen from now on."""
    row = await statements.fetchrow("SELECT snapshot", SELECT_OLDEST)
    assert row is not None
    return int(row["oldest"])


async def since(statements: Statements, transaction_id: int) -> list[Row]:
    """Those that this transaction wrote or a later one did; all of them since 0."""
    return await statements.fetch("SELECT revocations", SELECT_SINCE, transaction_id)


async def delete_expired(statements: Statements) -> None:
    """Those that no token is old enough for."""
    await statements.execute("DELETE revocations", DELETE_EXPIRED)
