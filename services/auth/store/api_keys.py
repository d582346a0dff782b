"""SQL of API keys."""

from services.runtime.postgres import Row, Statements

INSERT = """
INSERT INTO api_keys (api_key_id, organization_id, creator_id, name, prefix, sha256, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""

SELECT_BY_HASH = "SELECT api_key_id, organization_id, scopes, expires_at FROM api_keys WHERE sha256 = $1"


async def insert(statements: Statements, *values: object) -> None:
    """Keep a key's hash; values in the order of the statement."""
    await statements.execute("INSERT api_key", INSERT, *values)


async def by_hash(statements: Statements, sha256: bytes) -> Row | None:
    """The key with this hash."""
    return await statements.fetchrow("SELECT api_key", SELECT_BY_HASH, sha256)
