"""SQL of API keys."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.auth.store import memberships
from services.runtime.postgres import Row, Statements

COLUMNS = """
api_key_id, organization_id, creator_id, coalesce(user_id, creator_id::uuid) AS user_id, name, prefix, scopes,
created_at, used_at, revoked_at, least(expires_at, superseded_at) AS expires_at, expires_at - created_at AS lifetime,
coalesce(least(expires_at, superseded_at) <= now(), false) AS expired
"""

INSERT = f"""
INSERT INTO api_keys (api_key_id, organization_id, creator_id, user_id, name, prefix, sha256, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING {COLUMNS}
"""  # noqa: S608

SELECT_BY_HASH = f"""
SELECT k.api_key_id, k.organization_id, k.scopes, k.revoked_at, m.role, r.permissions AS role_permissions,
       least(k.expires_at, k.superseded_at) AS expires_at
FROM api_keys k
LEFT JOIN memberships m ON m.organization_id = k.organization_id AND m.user_id = coalesce(k.user_id, k.creator_id::uuid)
{memberships.WITH_ROLE}
WHERE k.sha256 = $1
"""  # noqa: S608

SELECT_ALL = f"""
SELECT {COLUMNS} FROM api_keys WHERE organization_id = $1 ORDER BY created_at DESC, api_key_id DESC LIMIT 1000
"""  # noqa: S608

SELECT_ONE = f"SELECT {COLUMNS} FROM api_keys WHERE api_key_id = $1"  # noqa: S608

# What changes keys takes turns, one organization for itself: a key that makes, rotates or revokes others would meet one
# that does so to it. They would wait for one another at the audit log anyway.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('api_keys ' || $1, 0))"

SELECT_LIVE = f"""
SELECT {COLUMNS} FROM api_keys
WHERE api_key_id = $1 AND revoked_at IS NULL AND coalesce(least(expires_at, superseded_at) > now(), true)
"""  # noqa: S608

REVOKE = """
WITH RECURSIVE family AS (
    SELECT api_key_id FROM api_keys WHERE api_key_id = $1
    UNION
    SELECT made.api_key_id FROM api_keys made JOIN family ON made.creator_id = family.api_key_id::text
), locked AS (
    SELECT api_key_id FROM api_keys JOIN family USING (api_key_id)
    WHERE revoked_at IS NULL
    ORDER BY api_key_id
    FOR NO KEY UPDATE OF api_keys
)
UPDATE api_keys SET revoked_at = now()
WHERE api_key_id IN (SELECT api_key_id FROM locked)
RETURNING api_key_id
"""

END_AFTER = f"""
UPDATE api_keys SET superseded_at = least(superseded_at, now() + make_interval(secs => $2))
WHERE api_key_id = $1
RETURNING {COLUMNS}
"""  # noqa: S608

# Locked in order, as several processes write at once. A time that is older than the stored one changes nothing.
WRITE_USES = """
WITH used AS (
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) AS each (api_key_id, at)
), locked AS (
    SELECT api_key_id FROM api_keys JOIN used USING (api_key_id) ORDER BY api_key_id FOR NO KEY UPDATE OF api_keys
)
UPDATE api_keys SET used_at = greatest(api_keys.used_at, used.at)
FROM used JOIN locked USING (api_key_id)
WHERE api_keys.api_key_id = used.api_key_id
"""


async def insert(statements: Statements, *values: object) -> Row:
    """Keep a key's hash; values in the order of the statement."""
    row = await statements.fetchrow("INSERT api_key", INSERT, *values)
    assert row is not None
    return row


async def by_hash(statements: Statements, sha256: bytes) -> Row | None:
    """The key with this hash, and the membership of whoever answers for it; `role` is null where there is none."""
    return await statements.fetchrow("SELECT api_key", SELECT_BY_HASH, sha256)


async def all_of(statements: Statements, organization_id: UUID) -> list[Row]:
    """The newest first."""
    return await statements.fetch("SELECT api_keys", SELECT_ALL, organization_id)


async def one(statements: Statements, api_key_id: UUID) -> Row | None:
    """A key of the organization that the transaction sees."""
    return await statements.fetchrow("SELECT api_key", SELECT_ONE, api_key_id)


async def lock(statements: Statements, organization_id: UUID) -> None:
    """Until the end of the transaction, nobody else changes a key of the organization."""
    await statements.execute("lock api_keys", LOCK, str(organization_id))


async def live(statements: Statements, api_key_id: UUID) -> Row | None:
    """The key, if it works."""
    return await statements.fetchrow("SELECT api_key", SELECT_LIVE, api_key_id)


async def revoke(statements: Statements, api_key_id: UUID) -> list[UUID]:
    """End a key and those made with it; returns those that were not revoked before."""
    return [row["api_key_id"] for row in await statements.fetch("UPDATE api_keys", REVOKE, api_key_id)]


async def end_after(statements: Statements, api_key_id: UUID, seconds: float) -> Row:
    """Let a key end so many seconds from now, unless it would before."""
    row = await statements.fetchrow("UPDATE api_key", END_AFTER, api_key_id, seconds)
    assert row is not None
    return row


async def write_uses(statements: Statements, api_key_ids: Sequence[UUID], moments: Sequence[datetime]) -> None:
    """When each was used last."""
    await statements.execute("UPDATE api_keys", WRITE_USES, api_key_ids, moments)
