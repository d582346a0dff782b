"""SQL of whether what a token says still stands."""

from uuid import UUID

from services.runtime.postgres import Row, Statements

SELECT = """
SELECT s.ended_at IS NULL AS open, m.version
FROM sessions s LEFT JOIN memberships m USING (organization_id, user_id)
WHERE s.session_id = $1 AND s.organization_id = $2 AND s.user_id = $3
"""


async def select(statements: Statements, session_id: UUID, organization_id: UUID, user_id: UUID) -> Row | None:
    """A session, and the version of its user's membership, which is null where there is none any more."""
    return await statements.fetchrow("SELECT standing", SELECT, session_id, organization_id, user_id)
