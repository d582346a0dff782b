"""SQL of the vector search service."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.runtime.errors import CollectionNotFound
from services.runtime.postgres import Database, Row, Statements, jsonb_as_objects
from services.vector_search.spool import COLUMNS, Spool

INSERT_COLLECTION = """
INSERT INTO collections (collection_id, organization_id, name, dimension, metric, embedding_model)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (organization_id, name) DO NOTHING
RETURNING collection_id, name, dimension, metric, embedding_model, point_count, indexed, created_at
"""

SELECT_COLLECTIONS = """
SELECT collection_id, name, dimension, metric, embedding_model, point_count, indexed, created_at
FROM collections WHERE collection_id = ANY($1::uuid[])
"""

SELECT_COLLECTIONS_BY_NAME = """
SELECT collection_id, name, dimension, metric, embedding_model, point_count, indexed, created_at
FROM collections WHERE organization_id = $1 AND name > $2
ORDER BY name LIMIT $3
"""

SELECT_UNINDEXED_COLLECTIONS = """
SELECT collection_id FROM collections WHERE NOT indexed AND point_count >= $1 ORDER BY point_count
"""

# A probe looks for what is nearest to one query in one collection, and a leg is one way of looking, for many probes.
# A search is answered by the best of what some probes have found. Were `found` not materialized, each search would send
# its probes out again.
SEARCH_POINTS = """
WITH probe AS MATERIALIZED (
    SELECT p.number, p.leg, p.collection_id, p.most, ($1::vector[])[p.query] AS embedding
    FROM unnest($2::int[], $3::int[], $4::uuid[], $5::int[])
        WITH ORDINALITY AS p (leg, query, collection_id, most, number)
), found AS MATERIALIZED (
{legs}
), ranked AS (
    SELECT wanted.search, found.*,
           row_number() OVER (PARTITION BY wanted.search ORDER BY found.distance, found.point_id) AS rank
    FROM unnest($6::int[], $7::int[]) AS wanted (search, number) JOIN found USING (number)
)
SELECT search, collection_id, point_id, document_id, start_offset, end_offset, text, metadata, distance
FROM ranked WHERE rank <= ($8::int[])[search]
ORDER BY search, rank
"""
SEARCH_LEG = """
SELECT probe.number, hit.*
FROM probe CROSS JOIN LATERAL (
    SELECT p.collection_id, p.point_id, p.document_id, p.start_offset, p.end_offset, p.text, p.metadata,
           p.embedding {operator} probe.embedding AS distance
    FROM points p WHERE p.collection_id = {collection}
    ORDER BY p.embedding{cast} {operator} probe.embedding{cast}, p.point_id
    LIMIT probe.most
) hit
WHERE probe.leg = {leg}
"""
OPERATORS = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>"}

# Without iterative_scan, an index gives up after ef_search candidates; without the ban on sorting, the planner might
# read all of a collection that is not much larger than what is asked for, and the answer would not be what it says.
USE_INDEXES = """
SET LOCAL hnsw.ef_search = {breadth}; SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL enable_sort = off
"""

CREATE_STAGING = """
CREATE TEMPORARY TABLE IF NOT EXISTS staging (
    ordinal bigint, point_id uuid, document_id text, start_offset integer, end_offset integer,
    text text, metadata jsonb, embedding vector
) ON COMMIT DELETE ROWS
"""

HOLD_COLLECTION = "SELECT FROM collections WHERE collection_id = $1 FOR NO KEY UPDATE"

MERGE_POINTS = """
WITH merged AS (
    INSERT INTO points (organization_id, collection_id, point_id, document_id, start_offset, end_offset, text, metadata,
                        embedding)
    SELECT DISTINCT ON (point_id)
           $1::uuid, $2::uuid, point_id, document_id, start_offset, end_offset, text, metadata, embedding
    FROM staging ORDER BY point_id, ordinal DESC
    ON CONFLICT (collection_id, point_id) DO UPDATE
    SET document_id = excluded.document_id, start_offset = excluded.start_offset, end_offset = excluded.end_offset,
        text = excluded.text, metadata = excluded.metadata, embedding = excluded.embedding
    RETURNING old.point_id IS NULL AS added
), counted AS (
    SELECT count(*) AS stored, count(*) FILTER (WHERE added) AS added FROM merged
)
UPDATE collections SET point_count = point_count + (SELECT added FROM counted) WHERE collection_id = $2
RETURNING (SELECT stored FROM counted)
"""

# A passage may have been taken out of its document since, by an upsert of a point with its id.
SELECT_UNCHANGED_DOCUMENT = """
SELECT passage_count FROM documents d
WHERE collection_id = $1 AND document_id = $2 AND sha256 = $3 AND passage_count = (
    SELECT count(*) FROM points p WHERE p.collection_id = $1 AND p.document_id = $2
)
"""

DELETE_PASSAGES = """
WITH deleted AS (
    DELETE FROM points WHERE collection_id = $1 AND document_id = $2 RETURNING 1
)
UPDATE collections SET point_count = point_count - (SELECT count(*) FROM deleted) WHERE collection_id = $1
"""

UPSERT_DOCUMENT = """
INSERT INTO documents (organization_id, collection_id, document_id, sha256, passage_count)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (collection_id, document_id) DO UPDATE
SET sha256 = excluded.sha256, passage_count = excluded.passage_count
"""


class Leg(NamedTuple):
    """A way of looking: through all points of any collections, or by the index of the one that is named."""

    metric: str
    collection_id: UUID | None = None
    index_type: str = ""
    """Its type in SQL with the dimension, for example `vector(512)`."""


class Probe(NamedTuple):
    """One query in one collection: the numbers of its leg and its query, both from 1, and how many points to find."""

    leg: int
    query: int
    collection_id: UUID
    most: int


class Want(NamedTuple):
    """A search is interested in what a probe finds; both by number, from 1."""

    search: int
    probe: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one search statement looks for. What has a number is numbered from 1, by its place here."""

    queries: Sequence[bytes]
    legs: tuple[Leg, ...]
    probes: Sequence[Probe]
    wants: Sequence[Want]
    limits: Sequence[int]
    """Of each search."""
    breadth: int
    """How many candidates an index keeps in view: more takes longer and misses less."""


async def prepare(connection: "asyncpg.Connection[Row]") -> None:
    """Make a new connection ours: jsonb is objects, vectors are the bytes that pgvector receives."""
    await jsonb_as_objects(connection)
    await connection.set_type_codec("vector", schema="public", encoder=bytes, decoder=bytes, format="binary")
    # A plan that was made while the tables were small is kept; it must not read all of them when they have grown.
    await connection.execute("SET enable_seqscan = off")


@lru_cache(256)
def search_statement(legs: tuple[Leg, ...]) -> str:
    """One statement for all legs. What is put into it is of our own making: an id, a type, an operator, a number."""
    parts = (
        SEARCH_LEG.format(
            leg=number,
            operator=OPERATORS[leg.metric],
            collection=f"'{leg.collection_id}'" if leg.collection_id else "probe.collection_id",
            cast=f"::{leg.index_type}" if leg.collection_id else "",
        )
        for number, leg in enumerate(legs, 1)
    )
    return SEARCH_POINTS.format(legs="UNION ALL".join(parts))


class Staging:
    """A transaction in which points are gathered aside, and then put into a collection all at once."""

    def __init__(self, statements: Statements, organization_id: UUID) -> None:
        self._statements = statements
        self._organization_id = organization_id

    async def load(self, spool: Spool) -> None:
        """Gather the points of a spool. Of those with one id, the last will do."""
        await self._statements.copy("COPY staging", "staging", "pg_temp", COLUMNS, spool.source())

    async def hold(self, collection_id: UUID) -> None:
        """Keep other writers out of the collection until the end. Raises CollectionNotFound."""
        if await self._statements.fetchrow("SELECT collection", HOLD_COLLECTION, collection_id) is None:
            raise CollectionNotFound(collection_id)

    async def merge(self, collection_id: UUID) -> int:
        """Put what was gathered into the collection, which is held; returns how many points that were."""
        row = await self._statements.fetchrow("INSERT points", MERGE_POINTS, self._organization_id, collection_id)
        assert row is not None
        return int(row["stored"])

    async def unchanged(self, collection_id: UUID, document_id: str, sha256: bytes) -> int | None:
        """See VectorStore."""
        return await _unchanged(self._statements, collection_id, document_id, sha256)

    async def replace_document(self, collection_id: UUID, document_id: str, sha256: bytes, count: int) -> None:
        """Delete the passages that a document had; note what it is now. The collection is held."""
        await self._statements.execute("DELETE points", DELETE_PASSAGES, collection_id, document_id)
        values = (self._organization_id, collection_id, document_id, sha256, count)
        await self._statements.execute("INSERT document", UPSERT_DOCUMENT, *values)


class VectorStore:
    """The rows of the vector_search schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_collection(
        self, organization_id: UUID, collection_id: UUID, name: str, dimension: int, metric: str, embedding_model: str
    ) -> Row | None:
        """The new collection, or None where there is one of this name."""
        values = (collection_id, organization_id, name, dimension, metric, embedding_model)
        async with self._database.tenant(organization_id) as statements:
            return await statements.fetchrow("INSERT collection", INSERT_COLLECTION, *values)

    async def collections(self, organization_id: UUID, collection_ids: Iterable[UUID]) -> list[Row]:
        """Those of the collections that exist."""
        async with self._database.tenant(organization_id, read_only=True) as statements:
            return await statements.fetch("SELECT collections", SELECT_COLLECTIONS, list(collection_ids))

    async def collections_by_name(self, organization_id: UUID, after: str, limit: int) -> list[Row]:
        """The collections whose names come after the given one, in order."""
        async with self._database.tenant(organization_id, read_only=True) as statements:
            return await statements.fetch(
                "SELECT collections", SELECT_COLLECTIONS_BY_NAME, organization_id, after, limit
            )

    async def search(self, organization_id: UUID, plan: Plan) -> list[Row]:
        """What the searches find, each row with its `search`, nearest first."""
        async with self._database.tenant(organization_id, read_only=True) as statements:
            if any(leg.collection_id for leg in plan.legs):
                await statements.execute("SET search breadth", USE_INDEXES.format(breadth=plan.breadth))
            probes, wants = zip(*plan.probes, strict=True), zip(*plan.wants, strict=True)
            return await statements.fetch(
                "search points", search_statement(plan.legs), plan.queries, *probes, *wants, plan.limits
            )

    async def unchanged(
        self, organization_id: UUID, collection_id: UUID, document_id: str, sha256: bytes
    ) -> int | None:
        """How many passages a document has, if it is all there and made of what the digest stands for."""
        async with self._database.tenant(organization_id, read_only=True) as statements:
            return await _unchanged(statements, collection_id, document_id, sha256)

    @asynccontextmanager
    async def staging(self, organization_id: UUID) -> AsyncIterator[Staging]:
        """A Staging, which is undone on any error."""
        async with self._database.tenant(organization_id) as statements:
            await statements.execute("CREATE staging", CREATE_STAGING)
            yield Staging(statements, organization_id)

    async def unindexed(self, threshold: int) -> list[UUID]:
        """The collections of any organization that have so many points and no index, small ones first."""
        async with self._database.all_tenants(read_only=True) as statements:
            rows = await statements.fetch("SELECT collections", SELECT_UNINDEXED_COLLECTIONS, threshold)
        return [row["collection_id"] for row in rows]

    async def build_index(self, collection_id: UUID) -> bool:
        """Build the index of a collection, however long it takes; False where somebody else has or does."""
        async with self._database.all_tenants() as statements:
            await statements.execute("SET statement_timeout", "SET LOCAL statement_timeout = 0")
            row = await statements.fetchrow("CREATE INDEX", "SELECT build_index($1)", collection_id)
        return row is not None and row[0]


async def _unchanged(statements: Statements, collection_id: UUID, document_id: str, sha256: bytes) -> int | None:
    row = await statements.fetchrow("SELECT document", SELECT_UNCHANGED_DOCUMENT, collection_id, document_id, sha256)
    return None if row is None else int(row["passage_count"])
