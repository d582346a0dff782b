"""The service may append to the audit log, and nothing else; how, is the database's business."""

from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from services.auth.audit import append
from tests.services.auth.audit_logs import BEHIND_THE_BACK, CHAIN, ENTRY, LENGTH, Log

FORBIDDEN = {
    "change": ("UPDATE audit_entries SET actor = ''", "permission denied"),
    "delete": ("DELETE FROM audit_entries", "permission denied"),
    "truncate": ("TRUNCATE audit_entries", "permission denied"),
    "move a head": ("UPDATE audit_chains SET sequence = 0", "permission denied"),
    "make a head": ("INSERT INTO audit_chains VALUES (gen_random_uuid(), 1, '')", "permission denied"),
    "delete a head": ("DELETE FROM audit_chains", "permission denied"),
    "switch triggers off": (BEHIND_THE_BACK, "permission denied"),
    "drop the trigger": ("DROP TRIGGER link ON audit_entries", "must be owner"),
    "disable the trigger": ("ALTER TABLE audit_entries DISABLE TRIGGER ALL", "must be owner"),
    "replace the link": (
        "CREATE OR REPLACE FUNCTION audit_link() RETURNS trigger LANGUAGE sql AS ''",
        "permission denied",
    ),
    "have the link work for it": (
        "CREATE TEMPORARY TABLE mine (organization_id uuid) ON COMMIT DROP; "
        "CREATE TRIGGER mine BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION audit_link()",
        "permission denied for function",
    ),
    "become the owner": ("SET ROLE neurectomy_owner", "permission denied"),
}


@pytest.mark.parametrize(("statement", "expected"), FORBIDDEN.values(), ids=FORBIDDEN)
async def test_the_service_itself_cannot(log: Log, statement: str, expected: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=expected):
        async with log.database.all_tenants() as statements:
            await statements.execute("tamper", statement)
    assert await log.broken() is None


WRITE_ALL = """
INSERT INTO audit_entries
VALUES ($1, 1000, now() - interval '1 year', 'forged', '', '', '', '', '{}', decode(repeat('ff', 32), 'hex'), 'mine')
"""


async def test_a_place_a_time_and_a_hash_that_the_service_gives_are_not_taken(log: Log) -> None:
    async with log.database.tenant(CHAIN) as statements:
        await statements.execute("forge", WRITE_ALL, CHAIN)
        row = await statements.fetchrow("see", "SELECT now() - at AS age FROM audit_entries WHERE action = 'forged'")
    assert row is not None
    assert row["age"] < timedelta(hours=1)
    assert (await log.heads())[CHAIN].sequence == LENGTH + 1
    assert await log.broken() is None


async def test_a_table_of_the_services_own_does_not_stand_in_for_the_heads(log: Log) -> None:
    async with log.database.tenant(CHAIN) as statements:
        await statements.execute("stand in", "CREATE TEMPORARY TABLE audit_chains (LIKE audit_chains) ON COMMIT DROP")
        await append(statements, CHAIN, ENTRY)
    assert (await log.heads())[CHAIN].sequence == LENGTH + 1
    assert await log.broken() is None


async def test_an_entry_of_another_organization_is_refused_with_its_head(log: Log) -> None:
    stranger = uuid4()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with log.database.tenant(CHAIN) as statements:
            await append(statements, stranger, ENTRY)
    assert stranger not in await log.chains()


async def test_a_deed_that_is_rolled_back_leaves_no_entry(log: Log) -> None:
    async def deed() -> None:
        async with log.database.tenant(CHAIN) as statements:
            await append(statements, CHAIN, ENTRY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await deed()
    assert (await log.heads())[CHAIN].sequence == LENGTH
