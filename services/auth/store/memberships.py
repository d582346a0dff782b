"""SQL of memberships: who belongs to an organization, and by which role."""

from uuid import UUID

from services.runtime.postgres import Row, Statements

COLUMNS = """
m.organization_id, m.user_id, m.role, m.role_id, m.version, m.created_at AS joined_at,
r.name AS role_name, r.permissions AS role_permissions
"""
"""What `permissions.of` and the list of members want to know; `m` is memberships."""

WITH_ROLE = "LEFT JOIN roles r ON (r.organization_id, r.role_id) = (m.organization_id, m.role_id)"

SELECT = f"""
SELECT {COLUMNS}, u.email, u.display_name, u.created_at
FROM memberships m JOIN users u USING (user_id) {WITH_ROLE}
WHERE m.organization_id = $1 AND m.user_id = $2
"""  # noqa: S608


async def get(statements: Statements, organization_id: UUID, user_id: UUID) -> Row | None:
    """A member, with the role, its permissions where it is a custom one, and the membership's version."""
    return await statements.fetchrow("SELECT membership", SELECT, organization_id, user_id)
