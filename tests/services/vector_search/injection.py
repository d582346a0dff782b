"""Makes the product's own search statement slow, from outside of it.

Whoever owns a table may add policies to it. A restrictive one that asks for a sub-select holds up every statement that
reads points until the sub-select is done; it depends on no row, so PostgreSQL evaluates it once in a statement (an
InitPlan), when the first row is looked at. A search that compares collections in one way, as all small ones of one
metric are, reads points in one place, so it takes so much longer once; collections without points add nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

CREATE = """
CREATE POLICY slow_search ON vector_search.points AS RESTRICTIVE FOR SELECT
USING ((SELECT true FROM pg_sleep({seconds})))
"""
DROP = "DROP POLICY IF EXISTS slow_search ON vector_search.points"


@asynccontextmanager
async def slow_search(owner_url: str, milliseconds: int) -> AsyncIterator[None]:
    """Inside, each search that finds anything takes so much longer. The URL is that of the role neurectomy_owner."""
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute(CREATE.format(seconds=milliseconds / 1_000))
        yield
    finally:
        await connection.execute(DROP)
        await connection.close()
