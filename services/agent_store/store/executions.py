"""SQL of executions."""

from collections.abc import Sequence
from uuid import UUID

from services.agent_store.idempotency import Request
from services.agent_store.store.transactions import Store
from services.runtime.postgres import Row

COLUMNS = """
SELECT id, agent_id, version, status, input, output, error, input_tokens, output_tokens, started_at, ended_at
"""

RECORD = """
, event AS (
    INSERT INTO outbox (organization_id, entity_id, revision, kind, payload)
    SELECT organization_id, id, revision, 'execution', jsonb_build_object(
        'agent_id', agent_id, 'version', version, 'status', status
    ) FROM changed
)
"""

INSERT_EXECUTION = """
WITH agent AS (
    SELECT latest_version FROM agents WHERE organization_id = $1 AND id = $3
), request AS (
    INSERT INTO requests (organization_id, request_id, method, body_sha256, entity_id)
    SELECT $1, $4, $5, $6, $2 FROM agent WHERE $4::uuid IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING true
), changed AS (
    INSERT INTO executions (organization_id, id, agent_id, version, input)
    SELECT $1, $2, $3, latest_version, $7 FROM agent
    WHERE $4::uuid IS NULL OR EXISTS (SELECT FROM request)
    RETURNING *
)
"""

END_EXECUTION = """
WITH changed AS (
    UPDATE executions SET
        revision = revision + 1,
        status = $3,
        output = $4,
        error = $5,
        input_tokens = $6,
        output_tokens = $7,
        ended_at = greatest(clock_timestamp(), started_at)
    WHERE organization_id = $1 AND id = $2 AND status = 'RUNNING'
    RETURNING *
)
"""

START = INSERT_EXECUTION + RECORD + COLUMNS + "FROM changed"
FINISH = END_EXECUTION + RECORD + COLUMNS + "FROM changed"
GET = COLUMNS + "FROM executions WHERE organization_id = $1 AND id = $2"
AS_STARTED = """
SELECT id, agent_id, version, 'RUNNING' AS status, input, NULL AS output, '' AS error, 0 AS input_tokens,
       0 AS output_tokens, started_at, NULL AS ended_at
FROM executions
WHERE organization_id = $1 AND id = $2
"""
LATEST_OF_EACH = """
FROM unnest($2::uuid[]) WITH ORDINALITY AS asked (wanted, place)
CROSS JOIN LATERAL (
    SELECT * FROM executions
    WHERE organization_id = $1 AND agent_id = wanted
    ORDER BY id DESC
    LIMIT $3
) AS latest
ORDER BY place, id DESC
"""
LATEST = COLUMNS + LATEST_OF_EACH


async def start(
    store: Store, tenant: UUID, execution_id: UUID, agent_id: UUID, request: Request, value: object
) -> Row | None:
    """The new execution, or None where the agent does not exist or the request was made before."""
    known = (request.id, request.method, request.body_sha256)
    async with store.changing(tenant) as statements:
        return await statements.fetchrow("INSERT executions", START, tenant, execution_id, agent_id, *known, value)


async def finish(store: Store, tenant: UUID, execution_id: UUID, values: Sequence[object]) -> Row | None:
    """The ended execution, or None where none of that id is running. Values: status, output, error and tokens."""
    async with store.changing(tenant) as statements:
        return await statements.fetchrow("UPDATE executions", FINISH, tenant, execution_id, *values)


async def get(store: Store, tenant: UUID, execution_id: UUID) -> Row | None:
    """The execution, if it exists."""
    async with store.reading(tenant) as statements:
        return await statements.fetchrow("SELECT executions", GET, tenant, execution_id)


async def as_started(store: Store, tenant: UUID, execution_id: UUID) -> Row | None:
    """The execution as it was when it began, if it exists."""
    async with store.reading(tenant) as statements:
        return await statements.fetchrow("SELECT executions", AS_STARTED, tenant, execution_id)


async def latest(store: Store, tenant: UUID, agent_ids: Sequence[UUID], limit: int) -> list[Row]:
    """The latest executions of each agent, grouped in the order of the ids, newest first."""
    async with store.reading(tenant) as statements:
        return await statements.fetch("SELECT executions", LATEST, tenant, agent_ids, limit)
