"""How PostgreSQL goes about what is asked of it by every page: by an index, in its order, no further than the page."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
import pytest_asyncio

from services.agent_store.agents import NEWEST
from services.agent_store.store import agents, executions
from services.agent_store.store.transactions import prepare_connection
from services.runtime import postgres
from services.runtime.postgres import Database

if TYPE_CHECKING:
    from deploy.local.stack import Stack

FILL = """
WITH made AS (
    INSERT INTO agents (
        organization_id, id, name, description, status, type, model_provider, model_name, model_config, system_prompt,
        capabilities, memory_config, retrieval_config, tags, owner_id, topics, collection_ids
    )
    SELECT $1, gen_random_uuid(), 'Agent', '', (ARRAY['DRAFT', 'ACTIVE'])[1 + n % 2], '', '', '', '{}', '',
           '{}', '{}', '{}', '{}', gen_random_uuid(), '{}', '{}'
    FROM generate_series(1, 3000) AS n
    RETURNING *
), version AS (
    INSERT INTO versions SELECT organization_id, id, 1, to_jsonb(made), '' FROM made
    RETURNING *
)
INSERT INTO executions (organization_id, id, agent_id, version)
SELECT organization_id, gen_random_uuid(), agent_id, number FROM version
"""
FORGET = """
SELECT pg_clear_attribute_stats('agent_store', relname::text, attname::text, false)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'agent_store'::regnamespace AND relkind = 'r' AND attnum > 0
"""
FIRST = "SELECT id FROM agents WHERE organization_id = $1 ORDER BY id LIMIT 20"
PAGES: dict[str, tuple[str, list[object]]] = {
    "agents": (agents.LIST, [NEWEST, 20]),
    "agents of one status": (agents.LIST_OF_STATUS, [NEWEST, 20, "DRAFT"]),
    "versions of one": (agents.LIST_VERSIONS, ["id", 2, 20]),
    "latest versions": (agents.LATEST_VERSIONS, ["ids"]),
    "latest executions": (executions.LATEST, ["ids", 10]),
    "one agent": (agents.GET, ["id"]),
    "some agents": (agents.BATCH_GET, ["ids"]),
}
"""Statements with their arguments behind the tenant; `id` and `ids` stand for its first agents."""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def database(stack: "Stack") -> AsyncIterator[Database]:
    async with postgres.connect(stack.database_url("agent_store"), init=prepare_connection) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def crowded(database: Database, stack: "Stack") -> UUID:
    """An organization with 3,000 agents, of which the planner knows nothing."""
    organization_id = uuid4()
    async with database.tenant(organization_id) as statements:
        await statements.execute("INSERT agents", FILL, organization_id)
    owner = await asyncpg.connect(stack.database_url("neurectomy_owner"))
    await owner.execute(FORGET)
    await owner.close()
    return organization_id


def scans(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a plan that read a table."""
    below = [scan for inner in plan.get("Plans", []) for scan in scans(inner)]
    return [plan, *below] if "Relation Name" in plan else below


def rows_read(scan: dict[str, Any]) -> float:
    return float(scan["Actual Loops"] * (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)))


@pytest.mark.parametrize(("statement", "values"), PAGES.values(), ids=PAGES)
async def test_no_more_is_read_than_asked_for(
    database: Database, crowded: UUID, statement: str, values: list[object]
) -> None:
    async with database.tenant(crowded, read_only=True) as statements:
        ids = [row["id"] for row in await statements.fetch("SELECT agents", FIRST, crowded)]
        known: dict[object, object] = {"id": ids[0], "ids": ids}
        given = [crowded, *(known.get(value, value) for value in values)]
        row = await statements.fetchrow("EXPLAIN", f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *given)
    assert row is not None
    found = scans(orjson.loads(row[0])[0]["Plan"])
    assert found
    assert {scan["Node Type"] for scan in found} == {"Index Scan"}
    assert all(0 < rows_read(scan) <= 20 for scan in found)
