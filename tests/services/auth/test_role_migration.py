"""Migration 0008 over what was there before: memberships keep their roles, and only real roles can be given."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from deploy.local import services
from deploy.local.postgres import OWNER
from deploy.local.stack import Stack
from services.runtime.postgres import migrate

MIGRATIONS = services.migrations("auth")
SEED = """
INSERT INTO organizations (organization_id, name) VALUES (gen_random_uuid(), 'old');
INSERT INTO users (user_id, email, display_name, password_hash) VALUES (gen_random_uuid(), 'a', 'a', '');
INSERT INTO memberships (organization_id, user_id, role)
SELECT organization_id, user_id, 'editor' FROM organizations, users;
"""
NO_ROLES = [("owner", str(uuid4())), ("custom", None), ("custom", str(uuid4())), ("emperor", None)]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def migrated(stack: Stack, tmp_path_factory: Any) -> AsyncIterator[Any]:
    """A schema of its own with a member of before."""
    schema, url = f"migrated_{uuid4().hex[:8]}", stack.database_url(OWNER)
    before: Path = tmp_path_factory.mktemp("before")
    for file in MIGRATIONS.glob("000[1-7]*.sql"):
        shutil.copy(file, before)
    connection = await asyncpg.connect(url, server_settings={"search_path": f"{schema},public"})
    await connection.execute(f"CREATE SCHEMA {schema}")
    try:
        await migrate(url, schema, before)
        await connection.execute(SEED)
        await migrate(url, schema, MIGRATIONS)
        yield connection
    finally:
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
        await connection.close()


async def test_members_of_before_keep_their_roles(migrated: Any) -> None:
    [row] = await migrated.fetch("SELECT role, role_id, version FROM memberships")
    assert tuple(row) == ("editor", None, 1)


async def test_old_rows_were_looked_at(migrated: Any) -> None:
    sql = (
        "SELECT conname FROM pg_constraint WHERE NOT convalidated AND conrelid = ANY('{memberships,roles}'::regclass[])"
    )
    assert await migrated.fetch(sql) == []


@pytest.mark.parametrize(("role", "role_id"), NO_ROLES)
async def test_what_is_no_role_cannot_be_given(migrated: Any, role: str, role_id: str | None) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await migrated.execute("UPDATE memberships SET role = $1, role_id = $2", role, role_id)
