"""Points on their way into COPY: as PostgreSQL reads them, wherever they are kept, and not without end."""

import asyncio
from uuid import UUID

import numpy as np
import pytest

from services.runtime.errors import TooLarge
from services.runtime.postgres import Database
from services.vector_search.spool import COLUMNS, MEMORY_BYTES, Point, Spool
from services.vector_search.store import CREATE_STAGING, Staging
from services.vector_search.vectors import to_binary
from tests.conftest import Tenant

VECTOR = to_binary(np.array([[1, -2.5, 3e10]], dtype=np.float32))[0]
POINTS = [
    Point(UUID(int=1), None, None, None, "", {}, VECTOR),
    Point(
        UUID(int=2**128 - 1), "doc", 0, 2**31 - 1, "Ä\n\t\\N 日本 😀", {"a": [1.5, None, "\\ \" '"], "é": {}}, VECTOR
    ),
]


async def staged(database: Database, tenant: Tenant, spool: Spool) -> list[tuple[object, ...]]:
    """What is in the staging table after the spool."""
    async with database.tenant(tenant.organization_id) as statements:
        await statements.execute("CREATE staging", CREATE_STAGING)
        await Staging(statements, tenant.organization_id).load(spool)
        rows = await statements.fetch("SELECT staging", f"SELECT {', '.join(COLUMNS)} FROM staging ORDER BY ordinal")
    return [tuple(row) for row in rows]


async def test_what_is_added_arrives(database: Database, tenant: Tenant) -> None:
    with Spool() as spool:
        spool.add(POINTS[:1])
        spool.add(POINTS[1:])
        assert await staged(database, tenant, spool) == [(number, *point) for number, point in enumerate(POINTS)]


async def test_also_what_does_not_fit_into_memory(database: Database, tenant: Tenant) -> None:
    long = [POINTS[1]._replace(text=letter * (MEMORY_BYTES // 4)) for letter in "abcdef"]
    with Spool() as spool:
        spool.add(long)
        assert await staged(database, tenant, spool) == [(number, *point) for number, point in enumerate(long)]


async def test_one_transaction_sees_nothing_of_another(database: Database, tenant: Tenant) -> None:
    async def once() -> list[tuple[object, ...]]:
        with Spool() as spool:
            spool.add(POINTS)
            return await staged(database, tenant, spool)

    for rows in [await once(), *await asyncio.gather(*(once() for _ in range(8)))]:
        assert len(rows) == len(POINTS)


def test_it_takes_so_much_and_no_more() -> None:
    with Spool(max_bytes=1_000) as spool:
        spool.add(POINTS)
        with pytest.raises(TooLarge):
            spool.add(POINTS * 10)
