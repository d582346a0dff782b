"""Neo4j: a pool, a span for each statement, the caller's deadline for each of them, and migrations."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, LiteralString, cast

from neo4j import (
    READ_ACCESS,
    WRITE_ACCESS,
    AsyncDriver,
    AsyncGraphDatabase,
    AsyncSession,
    AsyncTransaction,
    NotificationMinimumSeverity,
    Query,
    Record,
)
from neo4j.exceptions import ClientError, ConfigurationError, DriverError, Neo4jError, TransientError

from services.runtime.deadlines import budget, time_left
from services.runtime.errors import DeadlineExceeded, Overloaded, StoreUnavailable
from services.runtime.metrics import database_connections
from services.runtime.span_wire import Kind
from services.runtime.telemetry import leaf, span

MAX_SIZE = 20
ACQUIRE_SECONDS = 3.0
CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = 30.0
MIGRATION_TRIES = 5
STORE = "neo4j"
TIMED_OUT = "Neo.ClientError.Transaction.TransactionTimedOut"
"""How the codes begin that say so; which limit it was that passed comes behind."""
UNREADY = ("Neo.ClientError.Security", "Neo.ClientError.Database")
"""Wrong credentials, and a database that is not there or not there yet: an operator's matter, not our caller's."""
UNREACHABLE = (DriverError, OSError)


class Statements:
    """One transaction. Each statement has a short name of fixed words, which is its span's name."""

    def __init__(self, transaction: AsyncTransaction) -> None:
        self._transaction = transaction

    async def run(self, name: str, cypher: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[Record]:
        """All rows."""
        async with _statement(name):
            result = await self._transaction.run(cypher, dict(parameters or {}))
            return [record async for record in result]


class Database:
    """A pool of connections, and the statements that are run on them."""

    def __init__(self, driver: AsyncDriver, name: str, size: int) -> None:
        self._driver = driver
        self._name = name
        self._places = asyncio.Semaphore(size)

    async def read(self, name: str, cypher: LiteralString, parameters: Mapping[str, Any]) -> list[Record]:
        """All rows of a statement that changes nothing, in one round trip.

        Raises StoreUnavailable, Overloaded when no connection is free for 3 s, and DeadlineExceeded.
        """
        try:
            return await self._read(name, cypher, parameters)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, UNREACHABLE):
                raise
            return await self._read(
                name, cypher, parameters
            )  # that connection may be older than the server's last start

    async def _read(self, name: str, cypher: LiteralString, parameters: Mapping[str, Any]) -> list[Record]:
        async with self._place(), _statement(name), self._session(READ_ACCESS) as session:
            result = await session.run(Query(cypher, timeout=time_left(STATEMENT_SECONDS)), dict(parameters))
            return [record async for record in result]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Statements]:
        """Commits at the end, rolls back on error; is never repeated. Errors as `read`."""
        async with self._place(), self._session(WRITE_ACCESS) as session:
            try:
                async with _statement("BEGIN"):
                    transaction = await session.begin_transaction(timeout=time_left(STATEMENT_SECONDS))
                yield Statements(transaction)
                async with _statement("COMMIT"):
                    await transaction.commit()
            except BaseException:
                session.cancel()  # closes the connection, which needs no answer and cannot fail
                raise

    def _session(self, access: str) -> AsyncSession:
        return self._driver.session(database=self._name, default_access_mode=access)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of as many places as the driver has connections: the driver's own wait cannot be seen from outside."""
        with leaf(Kind.POOL_WAIT, "acquire connection"):
            await self._placed()
        database_connections.inc()
        try:
            yield
        finally:
            database_connections.dec()
            self._places.release()

    async def _placed(self) -> None:
        try:
            async with asyncio.timeout(time_left(ACQUIRE_SECONDS)):
                await self._places.acquire()
        except TimeoutError as error:
            budget()
            raise Overloaded from error


@asynccontextmanager
async def _statement(name: str) -> AsyncIterator[None]:
    """A span, the time that is left, and our own errors.

    The server looks for transactions past their time only every few seconds, so time is watched on this side, too:
    giving up closes the connection, and that ends the transaction at once.
    """
    with span(Kind.NEO4J, name), _domain_errors():
        try:
            async with asyncio.timeout(time_left(STATEMENT_SECONDS)):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded from error


@contextmanager
def _domain_errors() -> Iterator[None]:
    try:
        yield
    except Neo4jError as error:
        raise _meaning(error) from error
    except ConfigurationError:
        raise
    except UNREACHABLE as error:
        raise StoreUnavailable(STORE) from error


def _meaning(error: Neo4jError) -> Exception:
    """What an error of the server means: a mistake of ours in a statement stays what it is."""
    code = str(error.code)
    if code.startswith(TIMED_OUT):
        return DeadlineExceeded()
    if isinstance(error, ClientError) and not code.startswith(UNREADY):
        return error
    return StoreUnavailable(STORE)


@asynccontextmanager
async def connect(
    url: str, user: str, password: str, name: str = "neo4j", max_size: int = MAX_SIZE
) -> AsyncIterator[Database]:
    """A database at a URL such as bolt://host:7687. Nothing is asked of the server yet, so it may come up later."""
    driver = AsyncGraphDatabase.driver(
        url,
        auth=(user, password),
        max_connection_pool_size=max_size,
        connection_timeout=CONNECT_SECONDS,
        connection_acquisition_timeout=ACQUIRE_SECONDS,
        disable_auto_commit_retries=True,  # the driver knows no deadline
        notifications_min_severity=NotificationMinimumSeverity.OFF,
        telemetry_disabled=True,
        user_agent="neurectomy",
    )
    async with driver:
        yield Database(driver, name, max_size)


MIGRATIONS: LiteralString = "MATCH (migration:Migration) RETURN migration.name AS name, migration.sha256 AS sha256"
RECORD_MIGRATION: LiteralString = """
MERGE (migration:Migration {name: $name}) SET migration.sha256 = $sha256, migration.applied_at = datetime()
"""


async def migrate(database: Database, folder: Path) -> list[str]:
    """Apply the folder's *.cypher that the database does not have yet, by name; return their names.

    Neo4j records nothing in a transaction that changes the schema, so each statement must say IF NOT EXISTS. Raises
    ValueError when an applied file was changed since. Of two at once Neo4j may give up one, which then tries again.
    """
    for _ in range(MIGRATION_TRIES - 1):
        try:
            return await _migrate(database, folder)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, TransientError):
                raise
    return await _migrate(database, folder)


async def _migrate(database: Database, folder: Path) -> list[str]:
    applied = {row["name"]: row["sha256"] for row in await database.read("MATCH migrations", MIGRATIONS, {})}
    return [file.name for file in sorted(folder.glob("*.cypher")) if await _apply(database, file, applied)]


async def _apply(database: Database, file: Path, applied: Mapping[str, str]) -> bool:
    text = file.read_text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    if applied.get(file.name, digest) != digest:
        raise ValueError(f"{file.name} was changed after it was applied; write a new migration instead")
    if file.name in applied:
        return False
    async with database.transaction() as statements:
        for statement in re.split(r";\s*$", text, flags=re.MULTILINE):
            if statement.strip():
                await statements.run("migrate", cast(LiteralString, statement))
    async with database.transaction() as statements:
        await statements.run("MERGE migration", RECORD_MIGRATION, {"name": file.name, "sha256": digest})
    return True
