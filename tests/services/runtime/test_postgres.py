"""Transactions whose connection breaks, or whose caller goes away, on a real server."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import pytest_asyncio

from services.runtime import postgres
from services.runtime.errors import Overloaded, StoreUnavailable
from services.runtime.postgres import Database, Statements

if TYPE_CHECKING:
    from deploy.local.stack import Stack

END_OURSELVES = "SELECT pg_terminate_backend(pg_backend_pid())"
LEFT_OPEN = """
SELECT count(*) AS number FROM pg_stat_activity
WHERE application_name = $1 AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()
"""
WRITE = "INSERT INTO relays (name, position) VALUES ($1, '')"
FIND = "SELECT FROM relays WHERE name = $1"


@pytest.fixture
def name() -> str:
    return f"test-{uuid4()}"


@pytest_asyncio.fixture(loop_scope="session")
async def database(stack: "Stack", name: str) -> AsyncIterator[Database]:
    """A database whose sessions go by the test's name."""
    async with postgres.connect(
        f"{stack.database_url('agent_store')}?application_name={name}", max_size=5
    ) as connected:
        yield connected


async def is_there(database: Database, name: str) -> bool:
    async with database.all_tenants(read_only=True) as statements:
        return await statements.fetchrow("SELECT relays", FIND, name) is not None


Then = Callable[[Statements], Awaitable[object]]


async def write(database: Database, name: str, then: Then) -> None:
    async with database.all_tenants() as statements:
        await statements.execute("INSERT relays", WRITE, name)
        await then(statements)


async def end_ourselves(statements: Statements) -> None:
    await statements.execute("SELECT terminate", END_OURSELVES)


async def lose_the_connection(statements: Statements) -> None:
    statements.connection.terminate()


async def fail(_statements: Statements) -> None:
    raise LookupError


ENDINGS: list[tuple[Then, type[Exception]]] = [
    (end_ourselves, StoreUnavailable),
    (lose_the_connection, StoreUnavailable),
    (fail, LookupError),
]


@pytest.mark.parametrize(("then", "error"), ENDINGS)
async def test_what_did_not_commit_is_undone_and_the_next_works(
    database: Database, name: str, then: Then, error: type[Exception]
) -> None:
    for _ in range(10):
        with pytest.raises(error):
            await write(database, name, then)
    assert not await is_there(database, name)


async def test_a_caller_may_go_away_at_any_moment(database: Database, name: str) -> None:
    async def nothing_more(_statements: Statements) -> None:
        pass

    for _ in range(200):
        changes = [asyncio.create_task(write(database, f"{name} {uuid4()}", nothing_more)) for _ in range(5)]
        await asyncio.sleep(random.random() / 150)
        for task in changes:
            task.cancel()
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}
    async with database.all_tenants(read_only=True) as statements:
        row = await statements.fetchrow("SELECT sessions", LEFT_OPEN, name)
    assert row is not None
    assert row["number"] == 0


LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"


async def test_of_two_that_wait_for_each_other_one_is_told_to_try_again(database: Database, name: str) -> None:
    both = asyncio.Barrier(2)

    async def crosswise(first: str, second: str) -> str:
        try:
            async with database.all_tenants() as statements:
                await statements.execute("lock", LOCK, first)
                await both.wait()
                await statements.execute("lock", LOCK, second)
        except Overloaded:
            return "try again"
        return "done"

    one, other = f"{name} one", f"{name} other"
    assert sorted(await asyncio.gather(crosswise(one, other), crosswise(other, one))) == ["done", "try again"]
