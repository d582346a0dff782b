"""What the roles of the services may do, and may not."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from deploy.local.postgres import OWNER, SCHEMAS

if TYPE_CHECKING:
    from deploy.local.stack import Stack

RIGHTS = """
SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
    OR EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
    OR EXISTS (SELECT FROM pg_namespace WHERE nspowner = pg_roles.oid)
    OR EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid)
FROM pg_roles WHERE rolname = current_user
"""
HIDDEN = """
CREATE TABLE {schema}.hidden (number integer GENERATED ALWAYS AS IDENTITY, visible boolean);
ALTER TABLE {schema}.hidden ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON {schema}.hidden USING (visible) WITH CHECK (true);
INSERT INTO {schema}.hidden (visible) VALUES (true), (false);
"""


@asynccontextmanager
async def connected(stack: "Stack", role: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(stack.database_url(role))
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def hidden_rows(stack: "Stack", schema: str) -> AsyncIterator[None]:
    """A table made as a migration makes one, with two rows of which one is hidden."""
    async with connected(stack, OWNER) as owner:
        await owner.execute(HIDDEN.format(schema=schema))
        try:
            yield
        finally:
            await owner.execute(f"DROP TABLE {schema}.hidden")


@pytest.mark.parametrize("role", SCHEMAS)
async def test_a_service_owns_nothing_and_may_nothing_special(stack: "Stack", role: str) -> None:
    async with connected(stack, role) as service:
        assert await service.fetchval(RIGHTS) is False
        assert await service.fetchval("SHOW search_path") == f"{role}, public"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute("CREATE TABLE forbidden ()")


@pytest.mark.parametrize(("role", "other"), list(itertools.permutations(SCHEMAS, 2)))
async def test_a_service_cannot_enter_another_schema(stack: "Stack", role: str, other: str) -> None:
    async with connected(stack, role) as service:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"schema {other}"):
            await service.fetch(f"SELECT * FROM {other}.migrations")


@pytest.mark.parametrize("role", SCHEMAS)
async def test_a_service_works_with_new_tables_within_row_level_security(stack: "Stack", role: str) -> None:
    async with hidden_rows(stack, role), connected(stack, role) as service:
        await service.execute("INSERT INTO hidden (visible) VALUES (false)")
        assert await service.fetchval("UPDATE hidden SET visible = true RETURNING number") == 1
        assert [row["number"] for row in await service.fetch("SELECT number FROM hidden")] == [1]
        await service.execute("SET row_security = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await service.fetch("SELECT number FROM hidden")


async def test_it_is_postgresql_18_with_pgvector(stack: "Stack") -> None:
    async with connected(stack, "vector_search") as service:
        assert service.get_server_version().major == 18
        assert await service.fetchval("SELECT '[0,3]'::vector <-> '[4,0]'::vector") == 5.0


async def test_a_wrong_password_is_refused(stack: "Stack") -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stack.database_url("auth"), password="wrong")
