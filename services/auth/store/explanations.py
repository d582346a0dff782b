"""SQL of what explains an access, beside memberships and roles."""

from uuid import UUID

from services.runtime.postgres import Row, Statements

SELECT_KEY = """
SELECT scopes, revoked_at IS NOT NULL OR coalesce(least(expires_at, superseded_at) <= now(), false) AS ended
FROM api_keys WHERE organization_id = $1 AND api_key_id = $2
"""

SELECT_SESSION = """
SELECT ended_at IS NOT NULL OR expires_at <= now() AS ended
FROM sessions WHERE organization_id = $1 AND session_id = $2
"""


async def api_key(statements: Statements, organization_id: UUID, api_key_id: UUID) -> Row | None:
    """An API key's scopes, and whether it is over."""
    return await statements.fetchrow("SELECT api_key scopes", SELECT_KEY, organization_id, api_key_id)


async def session(statements: Statements, organization_id: UUID, session_id: UUID) -> Row | None:
    """Whether a session is over."""
    return await statements.fetchrow("SELECT session end", SELECT_SESSION, organization_id, session_id)
