"""SQL of organizations, users and memberships."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from services.runtime.errors import EmailTaken
from services.runtime.postgres import Row, Statements

INSERT_ACCOUNT = """
WITH organization AS (
    INSERT INTO organizations (organization_id, name) VALUES ($1, $2)
), "user" AS (
    INSERT INTO users (user_id, email, display_name, password_hash) VALUES ($3, $4, $5, $6)
    RETURNING user_id, email, display_name, created_at
), membership AS (
    INSERT INTO memberships (organization_id, user_id, role) VALUES ($1, $3, 'owner')
)
SELECT user_id, email, display_name, created_at FROM "user"
"""

INSERT_MEMBER = """
WITH "user" AS (
    INSERT INTO users (user_id, email, display_name, password_hash) VALUES ($2, $3, $4, $5)
    RETURNING user_id
)
INSERT INTO memberships (organization_id, user_id, role) SELECT $1, user_id, $6 FROM "user"
"""

INSERT_USER = "INSERT INTO users (user_id, email, display_name, password_hash) VALUES ($1, $2, $3, $4)"

SELECT_CREDENTIALS = """
SELECT u.user_id, u.email, u.display_name, u.created_at, u.password_hash, u.password_version,
       m.organization_id, m.role, r.permissions AS role_permissions, m.version, o.name AS organization_name
FROM users u JOIN memberships m USING (user_id) JOIN organizations o USING (organization_id)
LEFT JOIN roles r ON (r.organization_id, r.role_id) = (m.organization_id, m.role_id)
WHERE lower(u.email) = lower($1) AND ($2::uuid IS NULL OR m.organization_id = $2)
ORDER BY m.created_at, m.organization_id
LIMIT 1
"""

SELECT_MEMBERS = """
SELECT u.user_id, u.email, u.display_name, u.created_at
FROM memberships m JOIN users u USING (user_id)
WHERE m.organization_id = $1 AND m.user_id = ANY($2::uuid[])
"""

SELECT_ORGANIZATION = "SELECT organization_id, name FROM organizations WHERE organization_id = $1"


async def insert_account(
    statements: Statements,
    organization_id: UUID,
    organization: str,
    user_id: UUID,
    email: str,
    name: str,
    password_hash: str,
) -> Row:
    """A new organization with its owner; returns the user. Raises EmailTaken."""
    values = (organization_id, organization, user_id, email, name, password_hash)
    try:
        row = await statements.fetchrow("INSERT account", INSERT_ACCOUNT, *values)
    except asyncpg.UniqueViolationError as error:
        raise EmailTaken from error
    assert row is not None
    return row


async def insert_member(
    statements: Statements, organization_id: UUID, user_id: UUID, email: str, name: str, password_hash: str, role: str
) -> None:
    """A new user in an organization that exists. Raises EmailTaken."""
    values = (organization_id, user_id, email, name, password_hash, role)
    try:
        await statements.execute("INSERT member", INSERT_MEMBER, *values)
    except asyncpg.UniqueViolationError as error:
        raise EmailTaken from error


async def insert_user(statements: Statements, user_id: UUID, email: str, name: str, password_hash: str) -> None:
    """A new user, of no organization yet. Raises EmailTaken."""
    try:
        await statements.execute("INSERT user", INSERT_USER, user_id, email, name, password_hash)
    except asyncpg.UniqueViolationError as error:
        raise EmailTaken from error


async def credentials(statements: Statements, email: str, organization_id: UUID | None) -> Row | None:
    """The user of an e-mail address with one of their memberships, the oldest unless named."""
    return await statements.fetchrow("SELECT credentials", SELECT_CREDENTIALS, email, organization_id)


async def members(statements: Statements, organization_id: UUID, user_ids: Sequence[UUID]) -> list[Row]:
    """Those of the users who are members."""
    return await statements.fetch("SELECT members", SELECT_MEMBERS, organization_id, user_ids)


async def organization(statements: Statements, organization_id: UUID) -> Row | None:
    """An organization."""
    return await statements.fetchrow("SELECT organization", SELECT_ORGANIZATION, organization_id)
