"""SQL of the audit log; the database links the entries (migrations/0002_audit.sql)."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Row, Statements

INSERT = """
INSERT INTO audit_entries (organization_id, action, actor, actor_type, target, address, details)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

PLAN_FOR_THE_FILTER = "SET LOCAL plan_cache_mode = force_custom_plan"

SELECT_EVENTS = """
SELECT sequence, at, action, actor, actor_type, target, address, details
FROM audit_entries
WHERE organization_id = $1 AND sequence < $2
  AND (cardinality($3::text[]) = 0 OR action = ANY($3))
  AND ($4::text = '' OR actor = $4)
  AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
ORDER BY sequence DESC
LIMIT $7
"""

SELECT_CHAIN = """
WITH next AS (
    SELECT least(
        (SELECT organization_id FROM audit_chains WHERE organization_id >= $1 ORDER BY organization_id LIMIT 1),
        (SELECT organization_id FROM audit_entries WHERE organization_id >= $1 ORDER BY organization_id LIMIT 1)
    ) AS organization_id
)
SELECT organization_id, chain.sequence, chain.hash, coalesce(organizations.name, '') AS name,
       (SELECT min(sequence) FROM audit_entries AS entry
        WHERE entry.organization_id = next.organization_id AND entry.sequence > chain.sequence) AS beyond
FROM next LEFT JOIN audit_chains AS chain USING (organization_id) LEFT JOIN organizations USING (organization_id)
WHERE organization_id IS NOT NULL
"""

SELECT_AS_WRITTEN = """
SELECT organization_id, sequence, timestamptz_send(at) AS at_sent, action, actor, actor_type, target, address,
       details::text AS details_text, previous_hash, hash
FROM audit_entries
WHERE organization_id = $1 AND sequence BETWEEN $2 AND $3
ORDER BY sequence
LIMIT $4
"""


SELECT_ORGANIZATIONS = "SELECT organization_id FROM memberships WHERE user_id = $1 ORDER BY organization_id"


async def organizations(statements: Statements, user_id: UUID) -> list[UUID]:
    """Whose chains tell of a user, always in the same order."""
    found = await statements.fetch("SELECT memberships", SELECT_ORGANIZATIONS, user_id)
    return [row["organization_id"] for row in found]


async def insert(statements: Statements, *values: object) -> None:
    """Append one entry; values in the order of the statement."""
    await statements.execute("INSERT audit_entry", INSERT, *values)


async def events(
    statements: Statements,
    organization_id: UUID,
    before: int,
    actions: Sequence[str],
    actor: str,
    start: datetime | None,
    end: datetime | None,
    limit: int,
) -> list[Row]:
    """Entries before one, the last first, that fit what is not empty of the filter."""
    await statements.execute("SET plan_cache_mode", PLAN_FOR_THE_FILTER)
    values = (organization_id, before, actions, actor, start, end, limit)
    return await statements.fetch("SELECT audit_entries", SELECT_EVENTS, *values)


async def chain(statements: Statements, least: UUID) -> Row | None:
    """The first chain whose id is this or more: its head, and the first entry beyond that, all of one moment."""
    return await statements.fetchrow("SELECT audit_chain", SELECT_CHAIN, least)


async def as_written(statements: Statements, organization_id: UUID, first: int, last: int, limit: int) -> list[Row]:
    """Entries of a chain in their order, in a form that no setting changes and whatever they hold."""
    return await statements.fetch("SELECT audit_entries", SELECT_AS_WRITTEN, organization_id, first, last, limit)
