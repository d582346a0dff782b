"""SQL of revocations."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Row, Statements

UPSERT = """
INSERT INTO revocations AS revocation (kind, key, organization_id, version, expires_at)
SELECT kind, key, $3, version, $5 FROM unnest($1::text[], $2::text[], $4::integer[]) AS given (kind, key, version)
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
    statements: Statements,
    kinds: Sequence[str],
    keys: Sequence[str],
    organization_id: UUID,
    versions: Sequence[int],
    expires_at: datetime,
) -> None:
    """Keep some of one organization until they expire; of two for the same key, what reaches further."""
    values = (kinds, keys, organization_id, versions, expires_at)
    await statements.execute("UPSERT revocations", UPSERT, *values)


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
