"""What the database itself says of isolation: of every table, of every role, and after every transaction."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from deploy.local.postgres import OWNER, SCHEMAS, SUPERUSER
from deploy.local.stack import Stack
from services.runtime import postgres
from tests.conftest import Tenant

UNGUARDED = """
SELECT format('%s.%s', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p', 'f', 'm', 'v')
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id')
  AND NOT (c.relrowsecurity AND EXISTS (
      SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive
        AND pg_get_expr(p.polqual, c.oid) LIKE '%app.organization_id%'))
ORDER BY name
"""
"""Tables with tenants' rows that no policy guards; views, which their owner's rights would open, are never guarded."""

OPEN_POLICIES = """
SELECT format('%s.%s', n.nspname, c.relname) AS name
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1) AND p.polpermissive AND coalesce(pg_get_expr(p.polqual, c.oid), '') NOT LIKE '%app.%'
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id')
"""
"""Policies are joined by OR, so that one that asks for no tenant would undo the others."""

TABLES = """
SELECT n.nspname AS schema, c.relname AS name,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id') AS of_tenants
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p')
"""

ROLE = "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles WHERE rolname = $1"
OWNED = """
SELECT relname FROM pg_class WHERE pg_get_userbyid(relowner) = $1 AND NOT pg_is_other_temp_schema(relnamespace)
"""
MEMBER_OF = "SELECT roleid::regrole::text AS name FROM pg_auth_members WHERE member = $1::regrole"
DEFINERS = """
SELECT p.proname AS name, coalesce(p.proconfig, '{}') AS settings
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY($1) AND p.prosecdef
"""

Connection = Any


@asynccontextmanager
async def _connected(stack: Stack, role: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(stack.database_url(role))
    try:
        yield connection
    finally:
        await connection.close()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def superuser(stack: Stack) -> AsyncIterator[Connection]:
    async with _connected(stack, SUPERUSER) as connection:
        yield connection


async def _names(connection: Connection, query: str) -> Sequence[str]:
    return [row["name"] for row in await connection.fetch(query, list(SCHEMAS))]


async def test_every_table_of_tenants_has_a_policy_that_asks_for_the_tenant(superuser: Connection) -> None:
    of_tenants = [row for row in await superuser.fetch(TABLES, list(SCHEMAS)) if row["of_tenants"]]
    assert {row["schema"] for row in of_tenants} == set(SCHEMAS)
    assert await _names(superuser, UNGUARDED) == []
    assert await _names(superuser, OPEN_POLICIES) == []


BARE = {
    "without a policy": ("CREATE TABLE auth.bare (organization_id uuid)", UNGUARDED),
    "with security and no policy": (
        "CREATE TABLE auth.bare (organization_id uuid); ALTER TABLE auth.bare ENABLE ROW LEVEL SECURITY",
        UNGUARDED,
    ),
    "with a policy and no security": (
        "CREATE TABLE auth.bare (organization_id uuid);"
        "CREATE POLICY tenant ON auth.bare USING (organization_id::text = current_setting('app.organization_id'))",
        UNGUARDED,
    ),
    "with a policy that asks for nothing": (
        "CREATE TABLE auth.bare (organization_id uuid); ALTER TABLE auth.bare ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY all_of_it ON auth.bare USING (true)",
        OPEN_POLICIES,
    ),
    "a view": ("CREATE VIEW auth.bare AS SELECT organization_id FROM auth.memberships", UNGUARDED),
}


@pytest.mark.parametrize(("statements", "query"), BARE.values(), ids=BARE)
async def test_the_contract_names_a_table_that_is_not_guarded(stack: Stack, statements: str, query: str) -> None:
    async with _connected(stack, OWNER) as owner:
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute(statements)
        assert await _names(owner, query) == ["auth.bare"]
        await transaction.rollback()


@pytest.mark.parametrize("role", SCHEMAS)
async def test_a_services_role_has_no_power_but_over_rows(superuser: Connection, role: str) -> None:
    assert not any((await superuser.fetchrow(ROLE, role)).values())
    assert await superuser.fetch(OWNED, role) == []
    assert await superuser.fetch(MEMBER_OF, role) == []
    for schema in (*SCHEMAS, "public"):
        assert not await superuser.fetchval("SELECT has_schema_privilege($1, $2, 'CREATE')", role, schema)
    assert not await superuser.fetchval("SELECT has_database_privilege($1, current_database(), 'CREATE')", role)


async def test_functions_with_their_owners_rights_look_names_up_in_a_fixed_place(superuser: Connection) -> None:
    found = {row["name"]: row["settings"] for row in await superuser.fetch(DEFINERS, list(SCHEMAS))}
    assert set(found) == {"audit_link", "build_index"}
    for settings in found.values():
        assert any(each.startswith("search_path=") and each.endswith(", pg_temp") for each in settings)


async def test_each_role_sees_nothing_of_anothers_schema(stack: Stack, superuser: Connection) -> None:
    tables = await superuser.fetch(TABLES, list(SCHEMAS))
    for role in SCHEMAS:
        async with _connected(stack, role) as connection:
            for schema, name in ((row["schema"], row["name"]) for row in tables if row["schema"] != role):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"schema {schema}"):
                    await connection.execute(f"SELECT FROM {schema}.{name}")


FORBIDDEN = {
    "no more security": ("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY", "must be owner"),
    "no policy": ("DROP POLICY tenant ON {table}", "must be owner"),
    "another policy": ("CREATE POLICY mine ON {table} USING (true)", "must be owner"),
    "another owner": ("ALTER TABLE {table} OWNER TO {role}", "must be owner"),
    "a function": ("CREATE FUNCTION {role}.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", "permission denied"),
    "a table of one's own": ("CREATE TABLE {role}.mine ()", "permission denied"),
    "a table for all": ("CREATE TABLE public.mine ()", "permission denied"),
    "the owner": ("SET ROLE neurectomy_owner", "permission denied"),
    "the superuser": ("SET SESSION AUTHORIZATION postgres", "permission denied"),
    "no triggers": ("SET session_replication_role = replica", "permission denied"),
    "a role": ("CREATE ROLE mine", "permission denied"),
    "more power": ("ALTER ROLE {role} BYPASSRLS", "permission denied"),
    "what its schema's state is": ("UPDATE {role}.migrations SET sha256 = ''", "permission denied"),
    "the server's files": ("SELECT pg_read_file('/etc/passwd')", "permission denied"),
    "the server's programs": ("COPY (SELECT 1) TO PROGRAM 'true'", "permission denied"),
}
A_TABLE = {
    "auth": "auth.memberships",
    "agent_store": "agent_store.agents",
    "vector_search": "vector_search.collections",
}


@pytest.mark.parametrize("role", SCHEMAS)
@pytest.mark.parametrize(("statement", "expected"), FORBIDDEN.values(), ids=FORBIDDEN)
async def test_a_services_role_cannot_have(stack: Stack, role: str, statement: str, expected: str) -> None:
    async with _connected(stack, role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=expected):
            await connection.execute(statement.format(role=role, table=A_TABLE[role]))


@pytest.mark.parametrize("role", SCHEMAS)
async def test_switching_security_off_is_an_error_and_shows_nothing(stack: Stack, role: str) -> None:
    async with _connected(stack, role) as connection:
        await connection.execute("SET row_security = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(f"SELECT FROM {A_TABLE[role]}")


SCOPES = {
    "none": "SELECT 1",
    "an empty one": "SET app.organization_id = ''",
    "a stranger": f"SET app.organization_id = '{uuid4()}'",
    "nearly all": "SET app.all_organizations = 'yes'",
}
FILLED = {"organizations", "memberships", "sessions", "refresh_tokens", "audit_chains", "audit_entries"}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
async def test_without_its_tenant_no_row_is_seen_or_touched(
    stack: Stack, superuser: Connection, tenant: Tenant, scope: str
) -> None:
    seen = set()
    for table in [row for row in await superuser.fetch(TABLES, list(SCHEMAS)) if row["of_tenants"]]:
        name = f"{table['schema']}.{table['name']}"
        if await superuser.fetchval(f"SELECT EXISTS (SELECT FROM {name})"):
            seen.add(table["name"])
        async with _connected(stack, table["schema"]) as connection:
            await connection.execute(scope)
            assert await connection.fetchval(f"SELECT count(*) FROM {name}") == 0, name
    assert seen >= FILLED


async def test_no_row_is_written_for_another_tenant(stack: Stack, tenant: Tenant, other_tenant: Tenant) -> None:
    statements = (
        "INSERT INTO memberships (organization_id, user_id, role) VALUES ($1, $2, 'owner')",
        "UPDATE memberships SET organization_id = $1 WHERE user_id = $2",
    )
    for statement in statements:
        async with postgres.connect(stack.database_url("auth")) as database:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                async with database.tenant(other_tenant.organization_id) as mine:
                    await mine.execute("steal", statement, tenant.organization_id, other_tenant.user_id)


LEFT = "SELECT current_setting('app.organization_id', true) || count(*) FROM memberships"


async def test_a_tenant_does_not_outlive_its_transaction_on_a_pooled_connection(stack: Stack, tenant: Tenant) -> None:
    async def divide() -> None:
        async with database.tenant(tenant.organization_id) as statements:
            await statements.execute("divide", "SELECT 1 / 0")

    async def count(scope: Any) -> int:
        async with scope as statements:
            return len(await statements.fetch("see", "SELECT FROM memberships"))

    pool = asyncpg.create_pool(stack.database_url("auth"), min_size=1, max_size=1, reset=postgres._keep_session)
    async with pool:
        database = postgres.Database(pool)
        for _ in range(2):
            assert await count(database.tenant(tenant.organization_id)) == 1
            async with pool.acquire() as raw:
                assert await raw.fetchval(LEFT) == "0"
            assert await count(database.tenant(uuid4())) == 0
            with pytest.raises(asyncpg.DivisionByZeroError):
                await divide()
            async with pool.acquire() as raw:
                assert await raw.fetchval(LEFT) == "0"
            assert await count(database.all_tenants()) > 1
            async with pool.acquire() as raw:
                assert await raw.fetchval(LEFT) == "0"
