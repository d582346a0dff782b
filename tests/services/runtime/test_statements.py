"""Every statement and every wait for a connection is a span with the right status, whatever becomes of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from services.runtime import neo4j, postgres
from services.runtime.deadlines import set_budget
from services.runtime.errors import DeadlineExceeded, InvalidFields, Overloaded, StoreUnavailable
from services.runtime.outcomes import CODES
from services.runtime.postgres import Database, Statements
from services.runtime.telemetry import Recording
from tests.services.runtime.worker import recorded

if TYPE_CHECKING:
    from deploy.local.stack import Stack

SECRET = "swordfish"
SLEEP = "SELECT pg_sleep(60)"
END_OURSELVES = "SELECT pg_terminate_backend(pg_backend_pid())"
COPIED = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff"


@pytest_asyncio.fixture(loop_scope="session")
async def database(stack: "Stack") -> AsyncIterator[Database]:
    async with postgres.connect(stack.database_url("agent_store"), max_size=5) as connected:
        yield connected
        set_budget(None)


def told(recording: Recording) -> list[tuple[str, str]]:
    return [(span.name, CODES[span.status]) for span in recording.spans]


async def all_kinds(statements: Statements) -> None:
    await statements.fetch("fetch", "SELECT $1::text", SECRET)
    await statements.fetchrow("fetchrow", "SELECT $1::text", SECRET)
    await statements.execute("execute", "CREATE TEMPORARY TABLE copied (name text) ON COMMIT DROP")
    await statements.copy("copy", "copied", "pg_temp", ["name"], _rows())


async def _rows() -> AsyncIterator[bytes]:
    yield COPIED


async def fetch_nonsense(statements: Statements) -> None:
    await statements.fetch("fetch", "SELECT nonsense")


async def fetchrow_too_long(statements: Statements) -> None:
    await statements.fetchrow("fetchrow", SLEEP)


async def execute_unstorable(statements: Statements) -> None:
    await statements.execute("execute", "SELECT $1::text", "\0")


async def copy_nowhere(statements: Statements) -> None:
    await statements.copy("copy", "nowhere", "pg_temp", ["name"], _rows())


async def end_ourselves(statements: Statements) -> None:
    await statements.execute("execute", END_OURSELVES)


async def lose_the_connection(statements: Statements) -> None:
    statements.connection.terminate()


async def fail(statements: Statements) -> None:
    raise LookupError


async def give_up(statements: Statements) -> None:
    async with asyncio.timeout(0.1):
        await statements.execute("execute", SLEEP)


async def catch_and_go_on(statements: Statements) -> None:
    with suppress(asyncpg.UndefinedColumnError):
        await fetch_nonsense(statements)


Work = Callable[[Statements], Awaitable[None]]
BEGUN = [("acquire connection", "OK"), ("BEGIN", "OK")]
ROLLED_BACK = ("ROLLBACK", "OK")
ENDINGS: list[tuple[Work, float, type[BaseException] | None, list[tuple[str, str]]]] = [
    # work, seconds that it has, how it fails, and the spans after BEGIN
    (all_kinds, 30, None, [(name, "OK") for name in ("fetch", "fetchrow", "execute", "copy", "COMMIT")]),
    (fetch_nonsense, 30, asyncpg.UndefinedColumnError, [("fetch", "UNKNOWN"), ROLLED_BACK]),
    (fetchrow_too_long, 0.3, DeadlineExceeded, [("fetchrow", "DEADLINE_EXCEEDED"), ROLLED_BACK]),
    (execute_unstorable, 30, InvalidFields, [("execute", "INVALID_ARGUMENT"), ROLLED_BACK]),
    (copy_nowhere, 30, asyncpg.InvalidSchemaNameError, [("copy", "UNKNOWN"), ROLLED_BACK]),
    (end_ourselves, 30, StoreUnavailable, [("execute", "UNAVAILABLE")]),
    (lose_the_connection, 30, StoreUnavailable, [("COMMIT", "UNAVAILABLE")]),
    (fail, 30, LookupError, [ROLLED_BACK]),
    (give_up, 30, TimeoutError, [("execute", "CANCELLED"), ROLLED_BACK]),
    (catch_and_go_on, 30, None, [("fetch", "UNKNOWN"), ("COMMIT", "OK")]),
]


@pytest.mark.parametrize(("work", "seconds", "error", "spans"), ENDINGS)
async def test_statements_of_postgres(
    database: Database, work: Work, seconds: float, error: type[BaseException] | None, spans: list[tuple[str, str]]
) -> None:
    async def transaction() -> None:
        async with database.tenant(uuid4()) as statements:
            await work(statements)

    recording = recorded()
    set_budget(seconds)
    if error is None:
        await transaction()
    else:
        with pytest.raises(error):
            await transaction()
    assert told(recording) == [*BEGUN, *spans]
    assert SECRET not in str(recording.spans)


@asynccontextmanager
async def _wait_postgres(stack: "Stack") -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    url, size = stack.database_url("agent_store"), postgres.MIN_SIZE
    async with postgres.connect(url, max_size=size) as database, AsyncExitStack() as taken:
        for _ in range(size):
            await taken.enter_async_context(database.all_tenants())
        yield database.ping


@asynccontextmanager
async def _wait_neo4j(stack: "Stack") -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    async with (
        neo4j.connect(stack.neo4j_url, "neo4j", stack.secrets.neo4j, max_size=1) as database,
        database.transaction(),
    ):
        yield lambda: database.read("one", "RETURN 1 AS one", {})


WAITS = [
    # seconds that a wait may take, seconds that there are: how it fails
    (0.1, 30.0, Overloaded, "RESOURCE_EXHAUSTED"),
    (30.0, 0.1, DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (30.0, 30.0, TimeoutError, "CANCELLED"),
]


@pytest.mark.parametrize(("module", "full"), [(postgres, _wait_postgres), (neo4j, _wait_neo4j)])
@pytest.mark.parametrize(("patience", "seconds", "error", "status"), WAITS)
async def test_waits_for_a_connection(
    stack: "Stack",
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    full: Any,
    patience: float,
    seconds: float,
    error: type[Exception],
    status: str,
) -> None:
    async with full(stack) as one_more:
        monkeypatch.setattr(module, "ACQUIRE_SECONDS", patience)
        recording = recorded()
        set_budget(seconds)
        with pytest.raises(error):
            await asyncio.wait_for(one_more(), 0.5)
        set_budget(None)
        assert told(recording) == [("acquire connection", status)]


class Line:
    """A line to a server that can be cut where neither end sees it: before the next that is said on it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cut = False

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pass(reader, back))
            group.create_task(self._pass(there, writer))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while (said := await source.read(65_536)) and not self.cut:
            sink.write(said)
        self.cut = False
        sink.close()


async def test_a_read_that_is_repeated_is_two(stack: "Stack") -> None:
    line = Line(stack.ports["neo4j"])
    async with await asyncio.start_server(line.connected, "127.0.0.1", 0) as server:
        address = "bolt://{}:{}".format(*server.sockets[0].getsockname())
        async with neo4j.connect(address, "neo4j", stack.secrets.neo4j) as database:
            await database.read("one", "RETURN 1 AS one", {})
            recording, line.cut = recorded(), True
            await database.read("one", "RETURN 1 AS one", {})
    waited = ("acquire connection", "OK")
    assert told(recording) == [waited, ("one", "UNAVAILABLE"), waited, ("one", "OK")]
