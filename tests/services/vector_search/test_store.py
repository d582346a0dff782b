"""Which way the search statement goes, as PostgreSQL explains it."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from services.runtime.postgres import Database
from services.vector_search.collections import Collection
from services.vector_search.search import Resolved, plan
from services.vector_search.store import USE_INDEXES, Plan, VectorStore, search_statement
from services.vector_search.vectors import to_binary
from tests.conftest import Tenant
from tests.services.vector_search.conftest import clusters, create, points, upsert

ANYTHING_BUT_SCANS = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
KINDS = {
    "cosine": (4, pb.METRIC_COSINE),
    "L2": (4, pb.METRIC_L2),
    "inner product": (4, pb.METRIC_INNER_PRODUCT),
    "half precision": (2_001, pb.METRIC_L2),
}


async def explain(database: Database, organization_id: UUID, setting: str, way: Plan) -> str:
    """How PostgreSQL would go about a plan, for the service's own role."""
    values = (way.queries, *zip(*way.probes, strict=True), *zip(*way.wants, strict=True), way.limits)
    async with database.tenant(organization_id, read_only=True) as statements:
        await statements.execute("SET", setting)
        rows = await statements.fetch("EXPLAIN", f"EXPLAIN {search_statement(way.legs)}", *values)
    return "\n".join(row[0] for row in rows)


async def collections_of(store: VectorStore, tenant: Tenant, *collection_ids: str) -> dict[UUID, Collection]:
    """The collections as the service knows them."""
    rows = await store.collections(tenant.organization_id, map(UUID, collection_ids))
    return {row["collection_id"]: Collection.of(row) for row in rows}


@pytest.mark.parametrize(("dimension", "metric"), KINDS.values(), ids=KINDS)
async def test_exact_means_no_index_and_otherwise_it_is_used(
    mine: Any, tenant: Tenant, store: VectorStore, database: Database, dimension: int, metric: pb.Metric.ValueType
) -> None:
    own = await create(mine, dimension=dimension, metric=metric)
    await upsert(mine, own.id, points(clusters(20, dimension)))
    search = Resolved((UUID(own.id),), to_binary(clusters(1, dimension))[0], 3)
    before = plan([search], await collections_of(store, tenant, own.id))
    assert await store.build_index(UUID(own.id))
    after = plan([search], await collections_of(store, tenant, own.id))
    name = f"points_hnsw_{UUID(own.id).hex}"
    exact = await explain(database, tenant.organization_id, ANYTHING_BUT_SCANS, before)
    assert name not in exact
    assert "CTE found" in exact
    assert f"Index Scan using {name}" in await explain(
        database, tenant.organization_id, USE_INDEXES.format(breadth=after.breadth), after
    )


TABLES = {
    "collections": "UPDATE collections SET name = 'theirs'",
    "documents": "UPDATE documents SET passage_count = 0",
    "points": "UPDATE points SET text = 'theirs'",
}


@pytest.mark.parametrize(("table", "update"), TABLES.items())
async def test_the_tables_themselves_show_each_organization_its_own(
    mine: Any, tenant: Tenant, other_tenant: Tenant, database: Database, table: str, update: str
) -> None:
    own = await create(mine)
    document = pb.IngestDocumentRequest(collection_id=own.id, document_id="doc", text="Some text.")
    await mine.IngestDocument(document)
    for organization, rows in ((tenant, 1), (other_tenant, 0)):
        async with database.tenant(organization.organization_id) as statements:
            where = f"WHERE collection_id = '{own.id}'"
            assert len(await statements.fetch("SELECT", f"SELECT FROM {table} {where}")) == rows
            assert await statements.execute("UPDATE", f"{update} {where}") == f"UPDATE {rows}"


@pytest.mark.parametrize("table", TABLES)
async def test_nobody_gives_rows_to_another_organization(
    mine: Any, tenant: Tenant, other_tenant: Tenant, database: Database, table: str
) -> None:
    own = await create(mine)
    document = pb.IngestDocumentRequest(collection_id=own.id, document_id="doc", text="Some text.")
    await mine.IngestDocument(document)
    move = f"UPDATE {table} SET organization_id = $1 WHERE collection_id = $2"
    async with database.tenant(tenant.organization_id) as statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await statements.execute("UPDATE", move, other_tenant.organization_id, UUID(own.id))


async def test_what_searches_have_in_common_is_looked_for_once(mine: Any, tenant: Tenant, store: VectorStore) -> None:
    ids = [UUID((await create(mine, dimension=2)).id) for _ in range(3)]
    known = await collections_of(store, tenant, *map(str, ids))
    one, other = to_binary(clusters(2, 2))
    way = plan(
        [Resolved((ids[0], ids[1]), one, 3), Resolved((ids[1], ids[2]), one, 9), Resolved((ids[0],), other, 2)], known
    )
    assert (way.queries, len(way.legs), way.limits) == ([one, other], 1, [3, 9, 2])
    assert [(probe.query, probe.collection_id, probe.most) for probe in way.probes] == [
        (1, ids[0], 3),
        (1, ids[1], 9),
        (1, ids[2], 9),
        (2, ids[0], 2),
    ]
    assert [tuple(want) for want in way.wants] == [(1, 1), (1, 2), (2, 2), (2, 3), (3, 4)]
