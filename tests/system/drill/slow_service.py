"""Makes a service and its store slow where the trace id says so.

A service waits in its handler, outside of any span; PostgreSQL sleeps by itself; Neo4j, which cannot, is waited for
inside its statement's span.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from services.runtime import neo4j, postgres, server
from services.runtime.scopes import Call, Scope
from services.runtime.telemetry import current_trace_id
from tests.system.drill import marks

RPCS = {"BatchGetUsers", "BatchListExecutions", "BatchSearch", "BatchTraverse"}
STATEMENTS = {"SELECT members", "SELECT executions", "search points", "MATCH paths"}
"""The one of each of these RPCs that does its work."""
SLEEP = "SELECT pg_sleep($1)"

Statement = Callable[[str], AbstractAsyncContextManager[None]]


def slow_down(service: str) -> None:
    """From now on, this process is slow where it is told to be."""
    server.scopes_for = _with_slow_handlers(server.scopes_for, service)
    postgres.Statements.fetch = _slow_fetch(postgres.Statements.fetch, f"{service}/postgres")  # type: ignore[method-assign]
    neo4j._statement = _with_slow_statements(neo4j._statement, f"{service}/neo4j")


def _seconds(label: str) -> float:
    return marks.seconds(current_trace_id(), label)


def _with_slow_handlers(scopes_for: Any, service: str) -> Any:
    @asynccontextmanager
    async def slow(_call: Call) -> AsyncIterator[None]:
        await asyncio.sleep(_seconds(service))
        yield

    def with_slow(*arguments: Any) -> Callable[[str], Sequence[Scope]]:
        usual = scopes_for(*arguments)
        return lambda method: [*usual(method), *([slow] if method.rpartition("/")[2] in RPCS else [])]

    return with_slow


class _Slow:
    """A connection to a PostgreSQL that sleeps before it fetches."""

    def __init__(self, connection: Any, delay: float) -> None:
        self._connection = connection
        self._delay = delay

    async def fetch(self, sql: str, *values: object) -> Any:
        await self._connection.execute(SLEEP, self._delay)
        return await self._connection.fetch(sql, *values)


def _slow_fetch(usual: Any, label: str) -> Any:
    async def fetch(self: Any, name: str, sql: str, *values: object) -> Any:
        connection = self.connection
        if name in STATEMENTS and (delay := _seconds(label)):
            self.connection = _Slow(connection, delay)
        try:
            return await usual(self, name, sql, *values)
        finally:
            self.connection = connection

    return fetch


def _with_slow_statements(statement: Statement, label: str) -> Any:
    @asynccontextmanager
    async def slow(name: str) -> AsyncIterator[None]:
        async with statement(name):
            if name in STATEMENTS:
                await asyncio.sleep(_seconds(label))
            yield

    return slow
