"""Show 5: whatever a superuser does to the audit log behind the service's back is named by the verification."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from services.auth.audit import INSTALLATION, Entry, append
from services.auth.audit_chains import BATCH, Head, Verified, verify
from services.runtime import postgres
from tests.services.auth.databases import OwnDatabase, own_database

LENGTH = 7
CHAIN = UUID("01980000-0000-7000-8000-00000000000a")
OTHER = UUID("01980000-0000-7000-8000-00000000000b")
AWAY = UUID("01980000-0000-7000-8000-00000000000c")
BEHIND_THE_BACK = "SET session_replication_role = replica"
RECOMPUTE = "UPDATE audit_entries AS entry SET hash = audit_hash(entry) WHERE organization_id = $1 AND sequence = $2"
ENTRY = Entry("session.create", "someone", "user", "a session", "127.0.0.1", {"device": 'a "browser"', "ä": "€"})


class Log:
    """A database with two chains, and a superuser."""

    def __init__(self, own: OwnDatabase, database: postgres.Database) -> None:
        self.own = own
        self.database = database

    async def append(self, organization_id: UUID, count: int) -> None:
        async with self.database.all_tenants() as statements:
            for _ in range(count):
                await append(statements, organization_id, ENTRY)

    async def tamper(self, *statements: str) -> None:
        async with self.own.superuser() as connection:
            await connection.execute(BEHIND_THE_BACK)
            for statement in statements:
                await connection.execute(statement.replace("$chain", f"organization_id = '{CHAIN}'"))

    async def chains(self, known: Mapping[UUID, Head] | None = None) -> dict[UUID, Verified]:
        return {chain.organization_id: chain async for chain in verify(self.database, known or {})}

    async def broken(self, known: Mapping[UUID, Head] | None = None) -> tuple[str, int] | None:
        """What is wrong with the chain; nothing ever is with the other."""
        chains = await self.chains(known)
        assert chains[OTHER].broken is None
        found = chains[CHAIN].broken
        return (found.kind, found.sequence) if found else None

    async def heads(self) -> dict[UUID, Head]:
        return {organization_id: chain.head for organization_id, chain in (await self.chains()).items()}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def module_log(stack: Stack) -> AsyncIterator[Log]:
    async with AsyncExitStack() as resources:
        own = await resources.enter_async_context(own_database(stack))
        connected = postgres.connect(own.url(), init=postgres.jsonb_as_objects)
        log = Log(own, await resources.enter_async_context(connected))
        await log.append(OTHER, LENGTH)
        yield log


@pytest_asyncio.fixture(loop_scope="session")
async def log(module_log: Log) -> Log:
    """With a chain as it was written."""
    others = f"WHERE organization_id <> '{OTHER}'"
    await module_log.tamper(f"DELETE FROM audit_entries {others}", f"DELETE FROM audit_chains {others}")
    await module_log.append(CHAIN, LENGTH)
    assert await module_log.broken() is None
    return module_log


def _changed(assignment: str) -> str:
    return f"UPDATE audit_entries SET {assignment} WHERE $chain AND sequence = 4"


_FLIPPED = "set_byte({0}, 31, get_byte({0}, 31) # 1)"
TAMPERINGS = {
    "organization": (_changed(f"organization_id = '{AWAY}'"), ("MISSING", 4)),
    "sequence": (_changed("sequence = 40"), ("MISSING", 4)),
    "at, by a microsecond": (_changed("at = at + interval '1 microsecond'"), ("ALTERED", 4)),
    "at, for ever": (_changed("at = 'infinity'"), ("ALTERED", 4)),
    "at, beyond what Python knows": (_changed("at = '200000-01-01'"), ("ALTERED", 4)),
    "at, before": (_changed("at = '4000-01-01 BC'"), ("ALTERED", 4)),
    "action": (_changed("action = 'session.creatf'"), ("ALTERED", 4)),
    "actor": (_changed("actor = 'someonf'"), ("ALTERED", 4)),
    "actor_type": (_changed("actor_type = 'usfr'"), ("ALTERED", 4)),
    "target": (_changed("target = 'a sessiom'"), ("ALTERED", 4)),
    "address": (_changed("address = '127.0.0.2'"), ("ALTERED", 4)),
    "details": (_changed('details = details || \'{"ä": "$"}\''), ("ALTERED", 4)),
    "details, to what they never are": (_changed("details = '[1e400]'"), ("ALTERED", 4)),
    "a byte from one field to the next": (_changed("actor = 'someoneu', actor_type = 'ser'"), ("ALTERED", 4)),
    "previous_hash": (_changed(f"previous_hash = {_FLIPPED.format('previous_hash')}"), ("ALTERED", 4)),
    "hash": (_changed(f"hash = {_FLIPPED.format('hash')}"), ("ALTERED", 4)),
    "first": ("UPDATE audit_entries SET actor = '' WHERE $chain AND sequence = 1", ("ALTERED", 1)),
    "last": (f"UPDATE audit_entries SET actor = '' WHERE $chain AND sequence = {LENGTH}", ("ALTERED", LENGTH)),
    "one is deleted": ("DELETE FROM audit_entries WHERE $chain AND sequence = 4", ("MISSING", 4)),
    "the first is deleted": ("DELETE FROM audit_entries WHERE $chain AND sequence = 1", ("MISSING", 1)),
    "the tail is cut": ("DELETE FROM audit_entries WHERE $chain AND sequence > 4", ("MISSING", 5)),
    "all entries are deleted": ("DELETE FROM audit_entries WHERE $chain", ("MISSING", 1)),
    "the head says less": ("UPDATE audit_chains SET sequence = 4 WHERE $chain", ("INSERTED", 5)),
    "the head says more": ("UPDATE audit_chains SET sequence = 40 WHERE $chain", ("MISSING", LENGTH + 1)),
    "the head says another hash": (
        f"UPDATE audit_chains SET hash = {_FLIPPED.format('hash')} WHERE $chain",
        ("WRONG_HEAD", LENGTH),
    ),
    "the head is gone": ("DELETE FROM audit_chains WHERE $chain", ("WRONG_HEAD", LENGTH)),
}


@pytest.mark.parametrize(("statement", "expected"), TAMPERINGS.values(), ids=TAMPERINGS)
async def test_one_change_is_named(log: Log, statement: str, expected: tuple[str, int]) -> None:
    await log.tamper(statement)
    assert await log.broken() == expected


async def test_an_entry_says_who_stands_where_the_break_is(log: Log) -> None:
    await log.tamper(_changed("actor = 'nobody'"))
    broken = (await log.chains())[CHAIN].broken
    assert broken is not None
    assert broken.entry is not None
    assert (broken.entry["action"], broken.entry["actor"]) == ("session.create", "nobody")


COPY = """
INSERT INTO audit_entries
SELECT organization_id, {sequence}, at, action, actor, actor_type, target, address, details, {previous}, {hash}
FROM audit_entries WHERE $chain AND sequence = {source}
"""
INSERTIONS = {
    "behind the end": (LENGTH + 1, LENGTH, ("INSERTED", LENGTH + 1)),
    "far behind the end": (1_000, LENGTH, ("INSERTED", 1_000)),
    "before the beginning": (0, 1, ("INSERTED", 0)),
    "long before the beginning": (-(2**63), 1, ("INSERTED", -(2**63))),
}


@pytest.mark.parametrize(("sequence", "source", "expected"), INSERTIONS.values(), ids=INSERTIONS)
async def test_an_entry_that_was_inserted_is_named(
    log: Log, sequence: int, source: int, expected: tuple[str, int]
) -> None:
    await log.tamper(COPY.format(sequence=sequence, source=source, previous="hash", hash="hash"))
    async with log.own.superuser() as connection:
        await connection.execute(BEHIND_THE_BACK)
        await connection.execute(RECOMPUTE, CHAIN, sequence)
    assert await log.broken() == expected


async def test_two_that_were_swapped_are_named(log: Log) -> None:
    await log.tamper(
        "UPDATE audit_entries SET sequence = 100 WHERE $chain AND sequence = 3",
        "UPDATE audit_entries SET sequence = 3 WHERE $chain AND sequence = 5",
        "UPDATE audit_entries SET sequence = 5 WHERE $chain AND sequence = 100",
    )
    assert await log.broken() == ("ALTERED", 3)


async def test_one_whose_hash_was_made_right_again_is_not_linked(log: Log) -> None:
    await log.tamper(_changed("actor = 'nobody'"))
    async with log.own.superuser() as connection:
        await connection.execute(BEHIND_THE_BACK)
        await connection.execute(RECOMPUTE, CHAIN, 4)
    assert await log.broken() == ("UNLINKED", 5)


LINK_AGAIN = """
UPDATE audit_entries AS entry
SET previous_hash = (SELECT hash FROM audit_entries WHERE organization_id = $1 AND sequence = $2 - 1)
WHERE organization_id = $1 AND sequence = $2
"""
HEAD_AGAIN = """
UPDATE audit_chains
SET (sequence, hash) = (SELECT sequence, hash FROM audit_entries WHERE organization_id = $1 AND sequence = $2)
WHERE organization_id = $1
"""


async def _rewritten(log: Log) -> None:
    """Change the fourth entry, and make all that follows right again: nothing inside the database tells."""
    await log.tamper(_changed("actor = 'nobody'"))
    async with log.own.superuser() as connection:
        await connection.execute(BEHIND_THE_BACK)
        for sequence in range(4, LENGTH + 1):
            await connection.execute(LINK_AGAIN, CHAIN, sequence)
            await connection.execute(RECOMPUTE, CHAIN, sequence)
        await connection.execute(HEAD_AGAIN, CHAIN, LENGTH)


async def test_a_chain_that_was_rewritten_whole_is_found_by_its_known_head(log: Log) -> None:
    known = await log.heads()
    await _rewritten(log)
    assert await log.broken() is None
    assert await log.broken(known) == ("NOT_AS_KNOWN", LENGTH)
    await log.append(CHAIN, 1)
    assert await log.broken(known) == ("NOT_AS_KNOWN", LENGTH)


async def test_a_chain_whose_tail_was_cut_with_its_head_is_found_by_its_known_head(log: Log) -> None:
    known = await log.heads()
    await log.tamper("DELETE FROM audit_entries WHERE $chain AND sequence > 4")
    async with log.own.superuser() as connection:
        await connection.execute(HEAD_AGAIN, CHAIN, 4)
    assert await log.broken() is None
    assert await log.broken(known) == ("NOT_AS_KNOWN", 5)


async def test_a_chain_that_is_gone_whole_is_found_by_its_known_head(log: Log) -> None:
    known = await log.heads()
    await log.tamper("DELETE FROM audit_entries WHERE $chain", "DELETE FROM audit_chains WHERE $chain")
    assert CHAIN not in await log.chains()
    assert await log.broken(known) == ("NOT_AS_KNOWN", 1)


async def test_a_chain_that_grew_is_as_it_was_known(log: Log) -> None:
    known = await log.heads()
    await log.append(CHAIN, 3)
    assert await log.broken(known) is None
    assert (await log.heads())[CHAIN].sequence == LENGTH + 3


async def test_a_long_chain_and_that_of_nobody_are_whole_while_they_are_written(log: Log) -> None:
    await log.append(INSTALLATION, 1)
    await log.append(CHAIN, 2 * BATCH - LENGTH)  # so that a batch ends where the chain does
    walk = asyncio.create_task(log.chains())
    await asyncio.gather(*(log.append(CHAIN, 5) for _ in range(5)))
    chains = await walk
    assert [chain.broken for chain in chains.values()] == [None] * 3
    assert next(iter(chains)) == INSTALLATION
    assert chains[CHAIN].head.sequence >= 2 * BATCH


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
