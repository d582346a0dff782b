"""The Neo4j pool on a real server: outcomes, deadlines, cancellation, places, spans and migrations."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from neo4j.exceptions import ClientError

from deploy.local import ports
from deploy.local.stack import Stack
from services.runtime import neo4j, telemetry
from services.runtime.deadlines import set_budget
from services.runtime.errors import DeadlineExceeded, Overloaded, StoreUnavailable
from services.runtime.span_wire import Kind
from services.runtime.trace_context import extract

# The driver leaves closing to the garbage collector when it is cancelled while it connects.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

PLACES = 2
PATIENCE_SECONDS = 60
SLOW = "UNWIND range(1, 100000000000) AS number WITH number WHERE number = $mark RETURN count(*) AS slow"
RUNNING = "SHOW TRANSACTIONS YIELD currentQuery WHERE currentQuery STARTS WITH 'UNWIND range' RETURN currentQuery"
MARK = {"mark": -1}

Work = Callable[[neo4j.Database], Awaitable[object]]


@pytest_asyncio.fixture(loop_scope="session")
async def database(stack: Stack) -> AsyncIterator[neo4j.Database]:
    """With few places, so that it shows when one is not given back."""
    async with neo4j.connect(stack.neo4j_url, "neo4j", stack.secrets.neo4j, max_size=PLACES) as connected:
        yield connected
        set_budget(None)


async def _slow_read(database: neo4j.Database) -> None:
    await database.read("slow", SLOW, MARK)


async def _slow_transaction(database: neo4j.Database) -> None:
    async with database.transaction() as statements:
        await statements.run("slow", SLOW, MARK)


async def _one(database: neo4j.Database) -> int:
    [row] = await database.read("one", "RETURN 1 AS one", {})
    return int(row["one"])


async def _works(database: neo4j.Database) -> bool:
    """Every place is free, and nothing that was given up still runs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if not await database.read("running", RUNNING, {}):
                break
            await asyncio.sleep(0.05)
    return await asyncio.gather(*(_one(database) for _ in range(3 * PLACES))) == [1] * 3 * PLACES


SLOW_WORK = pytest.mark.parametrize("work", [_slow_read, _slow_transaction])


@SLOW_WORK
async def test_a_deadline_ends_a_statement_here_and_there(database: neo4j.Database, work: Work) -> None:
    for _ in range(2 * PLACES):
        set_budget(0.2)
        with pytest.raises(DeadlineExceeded):
            await work(database)
        set_budget(None)
    assert await _works(database)


@SLOW_WORK
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.3])
async def test_cancelling_ends_a_statement_here_and_there(database: neo4j.Database, work: Work, seconds: float) -> None:
    for _ in range(2 * PLACES):
        task = asyncio.ensure_future(work(database))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await _works(database)


async def test_a_passed_deadline_asks_nothing(database: neo4j.Database) -> None:
    set_budget(0.0)
    for work in (_one, _slow_transaction):
        with pytest.raises(DeadlineExceeded):
            await work(database)
    set_budget(None)
    assert await _works(database)


async def test_without_a_free_place_it_is_overloaded_or_out_of_time(
    database: neo4j.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neo4j, "ACQUIRE_SECONDS", 0.2)
    async with database.transaction(), database.transaction():
        with pytest.raises(Overloaded):
            await _one(database)
        set_budget(0.1)
        with pytest.raises(DeadlineExceeded):
            await _one(database)
        set_budget(None)
    monkeypatch.undo()
    assert await _works(database)


async def test_a_transaction_is_all_or_nothing(database: neo4j.Database) -> None:
    name = {"name": str(uuid4())}
    with pytest.raises(ClientError):
        await _create_and_fail(database, name)
    count = "MATCH (scrap:Scrap {name: $name}) RETURN scrap"
    assert await database.read("count", count, name) == []
    async with database.transaction() as statements:
        await statements.run("create", "CREATE (:Scrap {name: $name})", name)
        assert len(await statements.run("count", count, name)) == 1
    assert len(await database.read("count", count, name)) == 1
    assert await _works(database)


async def _create_and_fail(database: neo4j.Database, name: dict[str, str]) -> None:
    async with database.transaction() as statements:
        await statements.run("create", "CREATE (:Scrap {name: $name})", name)
        await statements.run("mistake", "MATCH mistake", {})


async def test_our_own_mistakes_are_not_a_store_that_is_down(database: neo4j.Database) -> None:
    with pytest.raises(ClientError):
        await database.read("mistake", "MATCH mistake", {})
    assert await _works(database)


async def test_nobody_there_and_wrong_credentials_are_a_store_that_is_down(stack: Stack) -> None:
    nowhere = f"bolt://127.0.0.1:{ports.settle({'neo4j': 0})['neo4j']}"
    for url, user in ((nowhere, "neo4j"), (stack.neo4j_url, "nobody")):  # neo4j itself would be locked out for a while
        async with neo4j.connect(url, user, stack.secrets.neo4j) as database:
            with pytest.raises(StoreUnavailable):
                await _one(database)
            with pytest.raises(StoreUnavailable):
                await _slow_transaction(database)


async def test_pools_heal_whether_they_saw_the_server_go_or_not(database: neo4j.Database, stack: Stack) -> None:
    async with neo4j.connect(stack.neo4j_url, "neo4j", stack.secrets.neo4j) as unaware:
        assert (await _one(database), await _one(unaware)) == (1, 1)
        await stack.kill("neo4j")
        with pytest.raises(StoreUnavailable):
            await _one(database)
        await stack.start("neo4j")
        assert (await _one(database), await _one(unaware)) == (1, 1)


async def test_spans_name_the_statement_and_its_outcome(database: neo4j.Database) -> None:
    recording = telemetry.begin("/test", extract(None), record=True)
    assert recording is not None
    await _one(database)
    set_budget(0.1)
    with pytest.raises(DeadlineExceeded):
        await _slow_read(database)
    set_budget(None)
    async with database.transaction() as statements:
        await statements.run("two", "RETURN 2", {})
    ok, late = 0, DeadlineExceeded.code.value[0]
    waited = (Kind.POOL_WAIT, "acquire connection", ok)
    assert [(span.kind, span.name, span.status) for span in recording.spans] == [
        waited,
        (Kind.NEO4J, "one", ok),
        waited,
        (Kind.NEO4J, "slow", late),
        waited,
        (Kind.NEO4J, "BEGIN", ok),
        (Kind.NEO4J, "two", ok),
        (Kind.NEO4J, "COMMIT", ok),
    ]


async def test_migrations_are_applied_once_and_never_changed(database: neo4j.Database, tmp_path: Path) -> None:
    unique = f"scrap_{uuid4().hex}"
    file = tmp_path / f"{unique}.cypher"
    file.write_text(
        f"// Two.\nCREATE INDEX {unique}_a IF NOT EXISTS FOR (n:{unique}) ON (n.a);\n"
        f"CREATE INDEX {unique}_b IF NOT EXISTS FOR (n:{unique}) ON (n.b);\n"
    )
    assert await neo4j.migrate(database, tmp_path) == [file.name]
    assert await neo4j.migrate(database, tmp_path) == []
    names = await database.read(
        "indexes", "SHOW INDEXES YIELD name WHERE name STARTS WITH $name RETURN name", {"name": unique}
    )
    assert sorted(row["name"] for row in names) == [f"{unique}_a", f"{unique}_b"]
    file.write_text("CREATE INDEX other IF NOT EXISTS FOR (n:Other) ON (n.other);")
    with pytest.raises(ValueError, match="write a new migration instead"):
        await neo4j.migrate(database, tmp_path)


async def test_a_migration_that_was_interrupted_is_applied_again(database: neo4j.Database, tmp_path: Path) -> None:
    unique = f"scrap_{uuid4().hex}"
    (tmp_path / f"{unique}.cypher").write_text(f"CREATE INDEX {unique} IF NOT EXISTS FOR (n:{unique}) ON (n.a);")
    await neo4j.migrate(database, tmp_path)
    async with database.transaction() as statements:
        await statements.run("forget", "MATCH (m:Migration {name: $name}) DELETE m", {"name": f"{unique}.cypher"})
    assert await neo4j.migrate(database, tmp_path) == [f"{unique}.cypher"]
