"""SQL of the roles that an organization makes for itself."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from services.runtime.errors import RoleInUse, RoleNameTaken
from services.runtime.postgres import Row, Statements

COLUMNS = """
role_id, name AS role_name, description AS role_description, permissions AS role_permissions, revision AS role_revision
"""

SELECT = f"SELECT {COLUMNS} FROM roles WHERE organization_id = $1 ORDER BY lower(name)"  # noqa: S608

SELECT_ONE = f"SELECT {COLUMNS} FROM roles WHERE organization_id = $1 AND role_id = $2"  # noqa: S608

INSERT = f"""
INSERT INTO roles (organization_id, role_id, name, description, permissions) VALUES ($1, $2, $3, $4, $5)
RETURNING {COLUMNS}
"""  # noqa: S608

UPDATE = f"""
UPDATE roles SET name = $3, description = $4, permissions = $5, revision = revision + 1, updated_at = now()
WHERE organization_id = $1 AND role_id = $2
RETURNING {COLUMNS}
"""  # noqa: S608

DELETE = """
WITH forgotten AS (
    UPDATE invitations SET role = 'viewer', role_id = NULL, ended_at = coalesce(ended_at, expires_at)
    WHERE organization_id = $1 AND role_id = $2 AND (ended_at IS NOT NULL OR expires_at <= now())
)
DELETE FROM roles WHERE organization_id = $1 AND role_id = $2
"""

RAISE_VERSIONS = """
UPDATE memberships SET version = version + 1 WHERE organization_id = $1 AND role_id = $2
RETURNING user_id, version
"""


async def all_of(statements: Statements, organization_id: UUID) -> list[Row]:
    """An organization's own, by name."""
    return await statements.fetch("SELECT roles", SELECT, organization_id)


async def get(statements: Statements, organization_id: UUID, role_id: UUID) -> Row | None:
    """One of them."""
    return await statements.fetchrow("SELECT role", SELECT_ONE, organization_id, role_id)


async def insert(
    statements: Statements, organization_id: UUID, role_id: UUID, name: str, description: str, granted: Sequence[str]
) -> Row:
    """A new one. Raises RoleNameTaken."""
    return await _write(statements, "INSERT role", INSERT, organization_id, role_id, name, description, granted)


async def update(
    statements: Statements, organization_id: UUID, role_id: UUID, name: str, description: str, granted: Sequence[str]
) -> Row:
    """Other values. Raises RoleNameTaken."""
    return await _write(statements, "UPDATE role", UPDATE, organization_id, role_id, name, description, granted)


async def _write(
    statements: Statements,
    label: str,
    sql: str,
    organization_id: UUID,
    role_id: UUID,
    name: str,
    description: str,
    granted: Sequence[str],
) -> Row:
    try:
        row = await statements.fetchrow(label, sql, organization_id, role_id, name, description, granted)
    except asyncpg.UniqueViolationError as error:
        raise RoleNameTaken(name) from error
    assert row is not None
    return row


async def delete(statements: Statements, organization_id: UUID, role_id: UUID) -> None:
    """Be rid of one; invitations that are over forget that they had it. Raises RoleInUse."""
    try:
        await statements.execute("DELETE role", DELETE, organization_id, role_id)
    except asyncpg.ForeignKeyViolationError as error:
        raise RoleInUse from error


async def raise_versions(statements: Statements, organization_id: UUID, role_id: UUID) -> list[Row]:
    """The members that have it, with the new versions of their memberships."""
    return await statements.fetch("UPDATE memberships of role", RAISE_VERSIONS, organization_id, role_id)
