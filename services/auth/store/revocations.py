"""SQL of revocations."""

from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Statements

UPSERT = """
INSERT INTO revocations AS revocation (kind, key, organization_id, version, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (kind, key) DO UPDATE SET
    version = greatest(revocation.version, excluded.version),
    expires_at = greatest(revocation.expires_at, excluded.expires_at)
"""


async def upsert(
    statements: Statements, kind: str, key: str, organization_id: UUID, version: int, expires_at: datetime
) -> None:
    """Keep one until it expires; of two for the same key, what reaches further."""
    await statements.execute("UPSERT revocation", UPSERT, kind, key, organization_id, version, expires_at)
