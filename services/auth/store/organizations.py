"""SQL of organizations as wholes."""

from uuid import UUID

from services.auth.store.memberships import COLUMNS, WITH_ROLE
from services.runtime.postgres import Row, Statements

LOCK = "SELECT name FROM organizations WHERE organization_id = $1 FOR NO KEY UPDATE"

LOCK_USER = "SELECT FROM users WHERE user_id = $1 FOR NO KEY UPDATE"

COUNT = "SELECT count(*) AS organizations FROM memberships WHERE user_id = $1"

INSERT = """
WITH organization AS (
    INSERT INTO organizations (organization_id, name) VALUES ($1, $2)
)
INSERT INTO memberships (organization_id, user_id, role) VALUES ($1, $3, 'owner')
"""

SELECT_OF_USER = f"""
SELECT o.name AS organization_name, {COLUMNS}
FROM memberships m JOIN organizations o USING (organization_id) {WITH_ROLE}
WHERE m.user_id = $1
ORDER BY m.created_at, m.organization_id
"""  # noqa: S608

UPDATE = "UPDATE organizations SET name = $2 WHERE organization_id = $1"


async def lock(statements: Statements, organization_id: UUID) -> Row | None:
    """Wait until nobody else changes who may do what there, and keep others waiting until the transaction ends."""
    return await statements.fetchrow("LOCK organization", LOCK, organization_id)


async def count_of_user(statements: Statements, user_id: UUID) -> int | None:
    """To how many a user belongs, which stays so until the transaction ends; None for nobody. Sees all tenants."""
    if await statements.fetchrow("LOCK user", LOCK_USER, user_id) is None:
        return None
    row = await statements.fetchrow("COUNT memberships", COUNT, user_id)
    return int(row["organizations"]) if row else 0


async def insert(statements: Statements, organization_id: UUID, name: str, owner_id: UUID) -> None:
    """A new organization with its owner."""
    await statements.execute("INSERT organization", INSERT, organization_id, name, owner_id)


async def of_user(statements: Statements, user_id: UUID) -> list[Row]:
    """Those that a user belongs to, with the role; in a transaction that sees all of them."""
    return await statements.fetch("SELECT organizations", SELECT_OF_USER, user_id)


async def rename(statements: Statements, organization_id: UUID, name: str) -> None:
    """Another name."""
    await statements.execute("UPDATE organization", UPDATE, organization_id, name)
