"""SQL of agents and of their versions. A row of either is an agent as it is, or as it was."""

from collections.abc import Sequence
from uuid import UUID

from services.agent_store.idempotency import Request
from services.agent_store.store.transactions import Store
from services.runtime.postgres import Row

COLUMNS = """
SELECT id, revision, latest_version, name, description, status, type, model_provider, model_name, model_config,
       system_prompt, capabilities, memory_config, retrieval_config, tags, owner_id, topics, collection_ids,
       created_at, updated_at
"""

# One round trip for the change, its version and its event. `changed` is empty where nothing may be changed.
RECORD = """
, version AS (
    INSERT INTO versions (organization_id, agent_id, number, snapshot, creator_id)
    SELECT organization_id, id, latest_version, to_jsonb(changed) - 'organization_id', $3 FROM changed
), event AS (
    INSERT INTO outbox (organization_id, entity_id, revision, kind, payload)
    SELECT organization_id, id, revision, 'agent', jsonb_build_object(
        'name', name, 'status', status, 'owner_id', owner_id,
        'topics', topics, 'collection_ids', collection_ids, 'deleted', false
    ) FROM changed
)
"""

INSERT_AGENT = """
WITH request AS (
    INSERT INTO requests (organization_id, request_id, method, body_sha256, entity_id)
    SELECT $1, $4, $5, $6, $2 WHERE $4::uuid IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING true
), changed AS (
    INSERT INTO agents (
        organization_id, id, name, description, status, type, model_provider, model_name, model_config, system_prompt,
        capabilities, memory_config, retrieval_config, tags, owner_id, topics, collection_ids
    )
    SELECT $1, $2, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21
    WHERE $4::uuid IS NULL OR EXISTS (SELECT FROM request)
    RETURNING *
)
"""

UPDATE_AGENT = """
WITH changed AS (
    UPDATE agents SET
        revision = revision + 1,
        latest_version = latest_version + 1,
        updated_at = clock_timestamp(),
        name = coalesce($5, name),
        description = coalesce($6, description),
        status = coalesce($7, status),
        type = coalesce($8, type),
        model_provider = coalesce($9, model_provider),
        model_name = coalesce($10, model_name),
        model_config = coalesce($11, model_config),
        system_prompt = coalesce($12, system_prompt),
        capabilities = coalesce($13, capabilities),
        memory_config = coalesce($14, memory_config),
        retrieval_config = coalesce($15, retrieval_config),
        tags = coalesce($16, tags),
        owner_id = coalesce($17, owner_id),
        topics = coalesce($18, topics),
        collection_ids = coalesce($19, collection_ids)
    WHERE organization_id = $1 AND id = $2 AND revision = coalesce($4, revision)
    RETURNING *
)
"""

CREATE = INSERT_AGENT + RECORD + COLUMNS + "FROM changed"
UPDATE = UPDATE_AGENT + RECORD + COLUMNS + "FROM changed"
GET = COLUMNS + "FROM agents WHERE organization_id = $1 AND id = $2"
BATCH_GET = COLUMNS + "FROM agents WHERE organization_id = $1 AND id = ANY($2)"
LIST = COLUMNS + "FROM agents WHERE organization_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
LIST_OF_STATUS = (
    COLUMNS + "FROM agents WHERE organization_id = $1 AND status = $4 AND id < $2 ORDER BY id DESC LIMIT $3"
)

NUMBERED = ", number, creator_id "
VERSIONS_OF_ONE = """
FROM (
    SELECT number, creator_id, snapshot FROM versions
    WHERE organization_id = $1 AND agent_id = $2 AND number < $3
    ORDER BY number DESC
    LIMIT $4
) AS page, jsonb_populate_record(NULL::agents, snapshot)
ORDER BY number DESC
"""
LATEST_OF_EACH = """
FROM unnest($2::uuid[]) AS asked (wanted)
CROSS JOIN LATERAL (
    SELECT number, creator_id, snapshot FROM versions
    WHERE organization_id = $1 AND agent_id = wanted
    ORDER BY number DESC
    LIMIT 1
) AS latest, jsonb_populate_record(NULL::agents, snapshot)
"""
LIST_VERSIONS = COLUMNS + NUMBERED + VERSIONS_OF_ONE
LATEST_VERSIONS = COLUMNS + NUMBERED + LATEST_OF_EACH


async def create(
    store: Store, tenant: UUID, agent_id: UUID, creator_id: str, request: Request, values: Sequence[object]
) -> Row | None:
    """The new agent, or None where the request was made before. Values are in the order of the columns above."""
    known = (request.id, request.method, request.body_sha256)
    async with store.changing(tenant) as statements:
        return await statements.fetchrow("INSERT agents", CREATE, tenant, agent_id, creator_id, *known, *values)


async def update(
    store: Store, tenant: UUID, agent_id: UUID, creator_id: str, revision: int | None, values: Sequence[object]
) -> Row | None:
    """The changed agent, or None where there is none of that revision. A value of None leaves its column as it is."""
    async with store.changing(tenant) as statements:
        return await statements.fetchrow("UPDATE agents", UPDATE, tenant, agent_id, creator_id, revision, *values)


async def get(store: Store, tenant: UUID, agent_id: UUID) -> Row | None:
    """The agent, if it exists."""
    async with store.reading(tenant) as statements:
        return await statements.fetchrow("SELECT agents", GET, tenant, agent_id)


async def batch_get(store: Store, tenant: UUID, agent_ids: Sequence[UUID]) -> list[Row]:
    """Those of the agents that exist."""
    async with store.reading(tenant) as statements:
        return await statements.fetch("SELECT agents", BATCH_GET, tenant, agent_ids)


async def page(store: Store, tenant: UUID, status: str, before: UUID, limit: int) -> list[Row]:
    """Agents older than one, newest first; of one status unless that is empty."""
    async with store.reading(tenant) as statements:
        if status:
            return await statements.fetch("SELECT agents", LIST_OF_STATUS, tenant, before, limit, status)
        return await statements.fetch("SELECT agents", LIST, tenant, before, limit)


async def versions(store: Store, tenant: UUID, agent_id: UUID, before: int, limit: int) -> list[Row]:
    """Versions of an agent with lower numbers, newest first."""
    async with store.reading(tenant) as statements:
        return await statements.fetch("SELECT versions", LIST_VERSIONS, tenant, agent_id, before, limit)


async def latest_versions(store: Store, tenant: UUID, agent_ids: Sequence[UUID]) -> list[Row]:
    """The latest version of each of the agents that exist."""
    async with store.reading(tenant) as statements:
        return await statements.fetch("SELECT versions", LATEST_VERSIONS, tenant, agent_ids)
