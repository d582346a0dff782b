"""SQL of sessions and refresh tokens."""

from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Statements

INSERT = """
WITH session AS (
    INSERT INTO sessions (session_id, organization_id, user_id, device, address, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6)
    RETURNING session_id, organization_id
)
INSERT INTO refresh_tokens (sha256, session_id, organization_id, generation)
SELECT $7, session_id, organization_id, 1 FROM session
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
) -> None:
    """A session and the hash of its first refresh token."""
    values = (session_id, organization_id, user_id, device, address, expires_at, sha256)
    await statements.execute("INSERT session", INSERT, *values)
