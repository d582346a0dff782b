"""PostgreSQL: a pool, transactions that see one tenant's rows only, a span for each statement, and migrations."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import orjson

from services.runtime.deadlines import budget, time_left
from services.runtime.errors import DeadlineExceeded, InvalidFields, Overloaded, StoreUnavailable
from services.runtime.metrics import database_connections
from services.runtime.span_wire import Kind
from services.runtime.telemetry import leaf, note

MIN_SIZE, MAX_SIZE = 5, 20
ACQUIRE_SECONDS = 3.0
STATEMENT_SECONDS = 30.0
STORE = "postgres"
_POSTGRES, _POOL_WAIT = int(Kind.POSTGRES), int(Kind.POOL_WAIT)
"""Looking up a member of an enumeration takes as long as a quarter of recording a span."""
UNREACHABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
UNSTORABLE = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)
"""PostgreSQL's text and jsonb cannot hold U+0000."""

OUT_OF_TURN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Two transactions waited for each other, and this one gave way: nothing of it is written, and it may try again."""

JSONB_VERSION = b"\x01"

T = TypeVar("T")
Row = asyncpg.Record
Init = Callable[["asyncpg.Connection[Row]"], Coroutine[Any, Any, None]]
"""Done once with each new connection of a pool."""


class Statements:
    """One transaction. Each statement has a short name of fixed words, which is its span's name."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy[Row]") -> None:
        self.connection = connection

    async def fetch(self, name: str, sql: str, *values: object) -> list[Row]:
        """All rows."""
        return await self._spanned(name, self.connection.fetch, sql, *values)

    async def fetchrow(self, name: str, sql: str, *values: object) -> Row | None:
        """The first row, if there is one."""
        return await self._spanned(name, self.connection.fetchrow, sql, *values)

    async def execute(self, name: str, sql: str, *values: object) -> str:
        """The command tag, for example `UPDATE 1`."""
        return await self._spanned(name, self.connection.execute, sql, *values)

    async def copy(self, name: str, table: str, schema: str, columns: Sequence[str], source: Any) -> str:
        """Store the rows of a source, an asynchronous iterator of bytes, by binary COPY."""
        options = {"schema_name": schema, "columns": columns, "source": source, "format": "binary"}
        return await self._spanned(name, self.connection.copy_to_table, table, **options)

    async def _spanned(self, name: str, statement: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        began = perf_counter_ns()
        try:
            result = await statement(*arguments, **options)
        except BaseException as error:
            meaning = _meaning(error, self.connection)
            note(_POSTGRES, name, began, meaning)
            if meaning is error:
                raise
            raise meaning from error
        note(_POSTGRES, name, began)
        return result


def _meaning(error: BaseException, connection: "asyncpg.pool.PoolConnectionProxy[Row]") -> BaseException:
    """What an error of the driver means to our caller; any other means itself."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return DeadlineExceeded()
    if isinstance(error, OUT_OF_TURN):
        return Overloaded()
    if isinstance(error, UNSTORABLE):
        return InvalidFields(text="must not contain the character U+0000")
    lost = isinstance(error, asyncpg.InterfaceError) and _is_lost(connection)
    return StoreUnavailable(STORE) if lost or isinstance(error, UNREACHABLE) else error


class Database:
    """A pool of connections, and the transactions that are run on them."""

    def __init__(self, pool: "asyncpg.Pool[Row]") -> None:
        self._pool = pool

    @asynccontextmanager
    async def tenant(self, organization_id: UUID, read_only: bool = False) -> AsyncIterator[Statements]:
        """A transaction that sees and writes the rows of one organization. Commits at the end, rolls back on error.

        Raises StoreUnavailable, Overloaded when no connection is free for 3 s, and DeadlineExceeded.
        """
        async with self._transaction(f"SET LOCAL app.organization_id = '{organization_id}'", read_only) as statements:
            yield statements

    @asynccontextmanager
    async def all_tenants(self, read_only: bool = False) -> AsyncIterator[Statements]:
        """A transaction across organizations, for work that no tenant asked for. Errors as `tenant`."""
        async with self._transaction("SET LOCAL app.all_organizations = 'on'", read_only) as statements:
            yield statements

    @asynccontextmanager
    async def _transaction(self, scope: str, read_only: bool) -> AsyncIterator[Statements]:
        async with self._connection() as connection:
            statements, begin = Statements(connection), _begin(scope, read_only)
            try:
                await statements.execute("BEGIN", begin)
                yield statements
                await statements.execute("COMMIT", "COMMIT")
            except BaseException:
                await _roll_back(connection)
                raise

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Row]"]:
        with leaf(_POOL_WAIT, "acquire connection"):
            connection = await self._acquired()
        database_connections.inc()
        try:
            yield connection
        finally:
            database_connections.dec()
            await self._pool.release(connection)

    async def _acquired(self) -> "asyncpg.pool.PoolConnectionProxy[Row]":
        try:
            return await self._pool.acquire(timeout=time_left(ACQUIRE_SECONDS))
        except TimeoutError as error:
            budget()
            raise Overloaded from error
        except UNREACHABLE as error:
            raise StoreUnavailable(STORE) from error

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the database answers."""
        async with self.all_tenants(read_only=True) as statements:
            await statements.execute("ping", "SELECT 1")


def _begin(scope: str, read_only: bool) -> str:
    """Three statements in one round trip. Nothing in them is a caller's text: a UUID and a number."""
    milliseconds = max(1, int(time_left(STATEMENT_SECONDS) * 1_000))
    return f"BEGIN{' READ ONLY' if read_only else ''}; {scope}; SET LOCAL statement_timeout = {milliseconds}"


async def _roll_back(connection: "asyncpg.pool.PoolConnectionProxy[Row]") -> None:
    """Leave no open transaction behind; a connection that cannot do even that is closed."""
    if _is_lost(connection):
        return
    try:
        with leaf(_POSTGRES, "ROLLBACK"):
            await asyncio.shield(asyncio.wait_for(connection.execute("ROLLBACK"), timeout=1.0))
    except (Exception, asyncio.CancelledError):
        if not _is_lost(connection):
            connection.terminate()


def _is_lost(connection: "asyncpg.pool.PoolConnectionProxy[Row]") -> bool:
    """Whether it is closed. One that broke has been taken back by the pool, and can only say so by an error."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


async def _keep_session(_connection: object) -> None:
    """Transactions here set nothing for longer than themselves, so a connection needs no reset between them."""


async def jsonb_as_objects(connection: "asyncpg.Connection[Row]") -> None:
    """For `connect`: jsonb is dicts, lists, strings and numbers in parameters and rows."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: JSONB_VERSION + orjson.dumps(value),
        decoder=lambda data: orjson.loads(memoryview(data)[len(JSONB_VERSION) :]),
    )


@asynccontextmanager
async def connect(url: str, max_size: int = MAX_SIZE, init: Init | None = None) -> AsyncIterator[Database]:
    """A database at a URL such as postgresql://user:password@host:5432/name. Raises StoreUnavailable."""
    try:
        pool = await asyncpg.create_pool(
            url,
            min_size=MIN_SIZE,
            max_size=max_size,
            init=init,
            reset=_keep_session,
            server_settings={"jit": "off"},  # compiling takes longer than any statement of ours is worth
            timeout=10,
        )
    except UNREACHABLE as error:
        raise StoreUnavailable(STORE) from error
    async with pool:
        yield Database(pool)


CREATE_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS migrations (
    name        text PRIMARY KEY,
    sha256      text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""


KEEP_FROM_SERVICES = """
DO $$
DECLARE
    granted text;
BEGIN
    FOR granted IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema AND table_name = 'migrations' AND privilege_type <> 'SELECT'
          AND grantee NOT IN (current_user, 'PUBLIC')
    LOOP
        EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON migrations FROM %I', granted);
    END LOOP;
END
$$
"""
"""A service that could write what was applied could have it applied again."""


async def migrate(url: str, schema: str, folder: Path) -> list[str]:
    """Apply the folder's *.sql that the schema does not have yet, by name, each in a transaction; return their names.

    Two at once wait for each other. Raises ValueError when an applied file was changed since.
    """
    connection = await asyncpg.connect(url, server_settings={"search_path": f"{schema},public"})
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", f"migrate {schema}")
        await connection.execute(CREATE_MIGRATIONS)
        await connection.execute(KEEP_FROM_SERVICES)
        applied = {row["name"]: row["sha256"] for row in await connection.fetch("SELECT name, sha256 FROM migrations")}
        files = sorted(folder.glob("*.sql"))
        return [file.name for file in files if await _apply(connection, file, applied.get(file.name))]
    finally:
        await connection.close()


async def _apply(connection: "asyncpg.Connection[Row]", file: Path, applied: str | None) -> bool:
    sql = file.read_text()
    digest = hashlib.sha256(sql.encode()).hexdigest()
    if applied == digest:
        return False
    if applied is not None:
        raise ValueError(f"{file.name} was changed after it was applied; write a new migration instead")
    async with connection.transaction():
        await connection.execute(sql)
        await connection.execute("INSERT INTO migrations (name, sha256) VALUES ($1, $2)", file.name, digest)
    return True
