"""SQL of revocations."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Statements

UPSERT = """
INSERT INTO revocations AS revocation (kind, key, organization_id, version, expires_at)
SELECT kind, key, $3, version, $5 FROM unnest($1::text[], $2::text[], $4::integer[]) AS given (kind, key, version)
ON CONFLICT (kind, key) DO UPDATE SET
    version = greatest(revocation.version, excluded.version),
    expires_at = greatest(revocation.expires_at, excluded.expires_at)
"""


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
