"""SQL of invitations."""

from datetime import datetime
from uuid import UUID

from services.auth.store.memberships import ROLE_COLUMNS
from services.runtime.postgres import Row, Statements

COLUMNS = f"""
i.invitation_id, i.organization_id, i.email, i.inviter_id, i.created_at, i.expires_at, i.role, i.{ROLE_COLUMNS.lstrip()}
"""
WITH_ROLE = "LEFT JOIN roles r ON (r.organization_id, r.role_id) = (i.organization_id, i.role_id)"
IS_OPEN = "i.ended_at IS NULL AND i.expires_at > now()"

SELECT = f"""
SELECT {COLUMNS} FROM invitations i {WITH_ROLE}
WHERE i.organization_id = $1 AND {IS_OPEN}
ORDER BY i.created_at DESC, i.invitation_id DESC
"""  # noqa: S608

SELECT_ONE = f"""
SELECT {COLUMNS} FROM invitations i {WITH_ROLE}
WHERE i.organization_id = $1 AND i.invitation_id = $2 AND {IS_OPEN}
"""  # noqa: S608

SELECT_OF_EMAIL = f"""
SELECT {COLUMNS} FROM invitations i {WITH_ROLE}
WHERE i.organization_id = $1 AND lower(i.email) = lower($2) AND i.ended_at IS NULL
"""  # noqa: S608

SELECT_BY_HASH = f"""
SELECT i.organization_id, u.user_id, u.email AS user_email, u.password_hash
FROM invitations i LEFT JOIN users u ON lower(u.email) = lower(i.email)
WHERE i.sha256 = $1 AND {IS_OPEN}
"""  # noqa: S608

CLAIM = f"""
WITH i AS (
    UPDATE invitations i SET ended_at = now() WHERE i.organization_id = $1 AND i.sha256 = $2 AND {IS_OPEN}
    RETURNING *
)
SELECT {COLUMNS} FROM i {WITH_ROLE}
"""  # noqa: S608

# Rows of long ago hold addresses of people who have no account, so they do not stay.
FORGET = "DELETE FROM invitations WHERE organization_id = $1 AND created_at < now() - interval '30 days'"

COUNT = """
SELECT count(*) AS recent,
       count(*) FILTER (WHERE same) AS to_address,
       ceil(extract(epoch FROM min(created_at) FILTER (WHERE same) + interval '1 hour' - now()))::integer AS seconds
FROM (
    SELECT created_at, lower(email) = lower($2) AND created_at > now() - interval '1 hour' AS same FROM invitations
    WHERE organization_id = $1 AND (created_at > now() - interval '1 hour' OR (ended_at IS NULL AND expires_at > now()))
) counted
"""

END = "UPDATE invitations SET ended_at = now() WHERE organization_id = $1 AND invitation_id = $2"

INSERT = f"""
WITH i AS (
    INSERT INTO invitations
        (organization_id, invitation_id, email, role, role_id, inviter_id, sha256, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    RETURNING *
)
SELECT {COLUMNS} FROM i {WITH_ROLE}
"""  # noqa: S608


async def all_open(statements: Statements, organization_id: UUID) -> list[Row]:
    """An organization's open ones, newest first."""
    return await statements.fetch("SELECT invitations", SELECT, organization_id)


async def get(statements: Statements, organization_id: UUID, invitation_id: UUID) -> Row | None:
    """An open one."""
    return await statements.fetchrow("SELECT invitation", SELECT_ONE, organization_id, invitation_id)


async def of_email(statements: Statements, organization_id: UUID, email: str) -> Row | None:
    """The one that was not ended of an address; it may be past its time."""
    return await statements.fetchrow("SELECT invitation of email", SELECT_OF_EMAIL, organization_id, email)


async def by_hash(statements: Statements, sha256: bytes) -> Row | None:
    """The open one of a code, with the user whose address it is for; in a transaction that sees all tenants."""
    return await statements.fetchrow("SELECT invitation by hash", SELECT_BY_HASH, sha256)


async def claim(statements: Statements, organization_id: UUID, sha256: bytes) -> Row | None:
    """Use an open one's code up."""
    return await statements.fetchrow("UPDATE invitation", CLAIM, organization_id, sha256)


async def count_recent(statements: Statements, organization_id: UUID, email: str) -> Row:
    """How many are open or less than an hour old; how many went to the address in the last hour, and how many seconds
    pass until it is one less. Those of long ago are forgotten."""
    await statements.execute("DELETE invitations", FORGET, organization_id)
    row = await statements.fetchrow("COUNT invitations", COUNT, organization_id, email)
    assert row is not None
    return row


async def end(statements: Statements, organization_id: UUID, invitation_id: UUID) -> None:
    """Make a code worthless."""
    await statements.execute("UPDATE invitation", END, organization_id, invitation_id)


async def insert(
    statements: Statements,
    organization_id: UUID,
    invitation_id: UUID,
    email: str,
    role: tuple[str, UUID | None],
    inviter_id: UUID,
    sha256: bytes,
    expires_at: datetime,
) -> Row:
    """A new one."""
    values = (organization_id, invitation_id, email, *role, inviter_id, sha256, expires_at)
    row = await statements.fetchrow("INSERT invitation", INSERT, *values)
    assert row is not None
    return row
