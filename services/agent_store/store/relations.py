"""SQL of relations."""

from uuid import UUID

import asyncpg

from services.agent_store.store.transactions import Store
from services.runtime.errors import AgentNotFound

RECORD = """
INSERT INTO outbox (organization_id, entity_id, revision, kind, payload)
SELECT organization_id, concat_ws(':', source_id, type, target_id), revision, 'relation', jsonb_build_object(
    'source_id', source_id, 'target_id', target_id, 'type', type, 'deleted', deleted
) FROM changed
"""

INSERT_RELATION = """
WITH changed AS (
    INSERT INTO relations (organization_id, source_id, target_id, type) VALUES ($1, $2, $3, $4)
    ON CONFLICT (organization_id, source_id, target_id, type)
    DO UPDATE SET deleted = false, revision = relations.revision + 1 WHERE relations.deleted
    RETURNING *
)
"""

END_RELATION = """
WITH changed AS (
    UPDATE relations SET deleted = true, revision = revision + 1
    WHERE organization_id = $1 AND source_id = $2 AND target_id = $3 AND type = $4 AND NOT deleted
    RETURNING *
)
"""

CREATE = INSERT_RELATION + RECORD
DELETE = END_RELATION + RECORD


async def create(store: Store, tenant: UUID, source_id: UUID, target_id: UUID, kind: str) -> None:
    """Relate two agents, unless they are. Raises AgentNotFound."""
    try:
        async with store.changing(tenant) as statements:
            await statements.execute("INSERT relations", CREATE, tenant, source_id, target_id, kind)
    except asyncpg.ForeignKeyViolationError as error:
        missing = source_id if error.constraint_name == "relations_source" else target_id
        raise AgentNotFound(missing) from error


async def delete(store: Store, tenant: UUID, source_id: UUID, target_id: UUID, kind: str) -> None:
    """End the relation of two agents, if there is one."""
    async with store.changing(tenant) as statements:
        await statements.execute("UPDATE relations", DELETE, tenant, source_id, target_id, kind)
