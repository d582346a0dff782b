"""SQL of memberships: who belongs to an organization, and by which role."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from services.runtime.errors import AlreadyMember
from services.runtime.postgres import Row, Statements

ROLE_COLUMNS = """
role_id, r.name AS role_name, r.description AS role_description, r.permissions AS role_permissions,
r.revision AS role_revision
"""
COLUMNS = f"m.organization_id, m.user_id, m.version, m.created_at AS joined_at, m.role, m.{ROLE_COLUMNS.lstrip()}"
"""What `permissions.of` and `roles.of_row` want to know; `m` is memberships."""

WITH_ROLE = "LEFT JOIN roles r ON (r.organization_id, r.role_id) = (m.organization_id, m.role_id)"

MEMBER = f"""
SELECT {COLUMNS}, u.email, u.display_name, u.created_at
FROM memberships m JOIN users u USING (user_id) {WITH_ROLE}
WHERE m.organization_id = $1
"""  # noqa: S608

SELECT = f"{MEMBER} AND m.user_id = $2"

SELECT_BY_EMAIL = f"{MEMBER} AND lower(u.email) = lower($2)"

SELECT_PAGE = f"{MEMBER} AND m.user_id > $2 ORDER BY m.user_id LIMIT $3"

SELECT_CREATOR = f"""
SELECT {COLUMNS}
FROM api_keys k
JOIN memberships m ON m.organization_id = k.organization_id AND m.user_id = coalesce(k.user_id, k.creator_id::uuid)
{WITH_ROLE}
WHERE k.organization_id = $1 AND k.api_key_id = $2
"""  # noqa: S608

COUNT_OWNERS = "SELECT count(*) AS owners FROM memberships WHERE organization_id = $1 AND role = 'owner'"

# Whoever joins again goes on above what was taken back, or their new tokens would be refused with the old ones.
INSERT = """
INSERT INTO memberships (organization_id, user_id, role, role_id, version)
SELECT $1, $2, $3, $4, coalesce(max(version), 1)
FROM revocations WHERE kind = 'member' AND key = $1::uuid::text || '/' || $2::uuid::text
"""

UPDATE = """
UPDATE memberships SET role = $3, role_id = $4, version = version + 1 WHERE organization_id = $1 AND user_id = $2
RETURNING user_id, version
"""

DELETE = """
WITH invitations AS (
    UPDATE invitations SET ended_at = now()
    WHERE organization_id = $1 AND inviter_id = $2 AND ended_at IS NULL
)
DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2
RETURNING user_id, version + 1 AS version
"""

SELECT_KEYS = """
SELECT api_key_id FROM api_keys
WHERE organization_id = $1 AND coalesce(user_id, creator_id::uuid) = ANY($2::uuid[]) AND revoked_at IS NULL
"""


REVOKE_KEYS = """
UPDATE api_keys SET revoked_at = now()
WHERE organization_id = $1 AND coalesce(user_id, creator_id::uuid) = $2 AND revoked_at IS NULL
RETURNING api_key_id
"""


async def revoke_keys(statements: Statements, organization_id: UUID, user_id: UUID) -> list[Row]:
    """End the API keys that a user answers for, who may be a member again one day; returns their ids."""
    return await statements.fetch("UPDATE api_keys of user", REVOKE_KEYS, organization_id, user_id)


async def get(statements: Statements, organization_id: UUID, user_id: UUID) -> Row | None:
    """A member, with the role, its permissions where it is a custom one, and the membership's version."""
    return await statements.fetchrow("SELECT membership", SELECT, organization_id, user_id)


async def by_email(statements: Statements, organization_id: UUID, email: str) -> Row | None:
    """The member with an e-mail address."""
    return await statements.fetchrow("SELECT membership", SELECT_BY_EMAIL, organization_id, email)


async def page(statements: Statements, organization_id: UUID, after: UUID, limit: int) -> list[Row]:
    """Members by id, those behind one."""
    return await statements.fetch("SELECT memberships", SELECT_PAGE, organization_id, after, limit)


async def of_creator(statements: Statements, organization_id: UUID, api_key_id: UUID) -> Row | None:
    """The membership of whoever answers for an API key."""
    return await statements.fetchrow("SELECT creator", SELECT_CREATOR, organization_id, api_key_id)


async def count_owners(statements: Statements, organization_id: UUID) -> int:
    """How many owners there are."""
    row = await statements.fetchrow("COUNT owners", COUNT_OWNERS, organization_id)
    return int(row["owners"]) if row else 0


async def insert(statements: Statements, organization_id: UUID, user_id: UUID, role: str, role_id: UUID | None) -> None:
    """A user becomes a member. Raises AlreadyMember."""
    try:
        await statements.execute("INSERT membership", INSERT, organization_id, user_id, role, role_id)
    except asyncpg.UniqueViolationError as error:
        raise AlreadyMember from error


async def set_role(
    statements: Statements, organization_id: UUID, user_id: UUID, role: str, role_id: UUID | None
) -> Row | None:
    """Another role for a member: the id and the membership's new version."""
    return await statements.fetchrow("UPDATE membership", UPDATE, organization_id, user_id, role, role_id)


async def delete(statements: Statements, organization_id: UUID, user_id: UUID) -> Row | None:
    """End a membership with the invitations it made: the id, and a version above the last."""
    return await statements.fetchrow("DELETE membership", DELETE, organization_id, user_id)


async def keys_of(statements: Statements, organization_id: UUID, user_ids: Sequence[UUID]) -> list[Row]:
    """The ids of the live API keys that these users answer for."""
    return await statements.fetch("SELECT api_keys of users", SELECT_KEYS, organization_id, user_ids)
