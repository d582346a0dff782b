"""Show 5: whatever a superuser does to the audit log behind the service's back is named by the verification."""

import asyncio
from uuid import UUID

import pytest

from services.auth.audit import INSTALLATION
from services.auth.audit_chains import BATCH
from tests.services.auth.audit_logs import BEHIND_THE_BACK, CHAIN, LENGTH, Log

AWAY = UUID("01980000-0000-7000-8000-00000000000c")
RECOMPUTE = "UPDATE audit_entries AS entry SET hash = audit_hash(entry) WHERE organization_id = $1 AND sequence = $2"


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
