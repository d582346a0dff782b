"""Whether the audit log is as it was written: every hash is computed anew, by other code than the one that wrote it."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.auth.store import audit as rows
from services.runtime.postgres import Database, Row

BEFORE_ALL = bytes(32)
"""What stands where the first entry holds the hash of the one before."""
BATCH = 200
"""Entries in memory at once; hashing them takes about a millisecond."""
LEAST, MOST = -(2**63), 2**63 - 1
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
FIELDS = ("action", "actor", "actor_type", "target", "address", "details_text")


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain."""

    sequence: int = 0
    hash: bytes = BEFORE_ALL


@dataclass(frozen=True, slots=True)
class Break:
    """The first thing that is wrong with a chain; the kinds are those of the proto."""

    kind: str
    sequence: int
    entry: Row | None = None
    """What stands there, or follows the gap."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain up to its end, or up to its first break."""

    organization_id: UUID
    name: str
    head: Head
    broken: Break | None


Known = Mapping[UUID, Head]
"""Heads as they were seen before."""


async def verify(database: Database, known: Known) -> AsyncIterator[Verified]:
    """All chains, one after another. No transaction outlasts a batch; entries written meanwhile are left out."""
    missing, least = dict(known), 0
    while least < 2**128:
        async with database.all_tenants(read_only=True) as statements:
            chain = await rows.chain(statements, UUID(int=least))
        if chain is None:
            break
        organization_id = chain["organization_id"]
        yield await _verified(database, chain, missing.pop(organization_id, Head()))
        least = organization_id.int + 1
    for organization_id in missing:
        yield Verified(organization_id, "", Head(), Break("NOT_AS_KNOWN", 1))


async def _verified(database: Database, chain: Row, known: Head) -> Verified:
    organization_id = chain["organization_id"]
    last = MOST if chain["sequence"] is None else chain["sequence"]
    walk, first = Walk(known), LEAST
    while walk.broken is None:
        async with database.all_tenants(read_only=True) as statements:
            batch = await rows.as_written(statements, organization_id, first, last, BATCH)
        for entry in batch:
            walk.step(entry)
        if len(batch) < BATCH:
            break
        first = batch[-1]["sequence"] + 1
    broken = walk.broken or await _broken_end(database, chain, walk)
    return Verified(organization_id, chain["name"], walk.head, broken)


class Walk:
    """Follows a chain from its first entry to its first break."""

    def __init__(self, known: Head) -> None:
        self.head = Head()
        self.broken: Break | None = None
        self._known = known

    def step(self, entry: Row) -> None:
        """The next entry that is there."""
        if self.broken is None and (kind := self._wrong(entry)):
            place = self.head.sequence + 1 if kind == "MISSING" else entry["sequence"]
            self.broken = Break(kind, place, entry)
        if self.broken is None:
            self.head = Head(entry["sequence"], entry["hash"])

    def _wrong(self, entry: Row) -> str:
        sequence = entry["sequence"]
        if sequence < 1:
            return "INSERTED"
        if sequence != self.head.sequence + 1:
            return "MISSING"
        if hash_of(entry) != entry["hash"]:
            return "ALTERED"
        if entry["previous_hash"] != self.head.hash:
            return "UNLINKED"
        if sequence == self._known.sequence and entry["hash"] != self._known.hash:
            return "NOT_AS_KNOWN"
        return ""

    def end(self, head: Head | None) -> Break | None:
        """What is wrong with where the chain ends, by the note of its head."""
        mine = self.head
        if head is None:
            return Break("WRONG_HEAD", mine.sequence)
        if mine.sequence < head.sequence:
            return Break("MISSING", mine.sequence + 1)
        if mine.hash != head.hash:
            return Break("WRONG_HEAD", mine.sequence)
        if mine.sequence < self._known.sequence:
            return Break("NOT_AS_KNOWN", mine.sequence + 1)
        return None


async def _broken_end(database: Database, chain: Row, walk: Walk) -> Break | None:
    beyond = chain["beyond"]
    if beyond is None or walk.head.sequence < chain["sequence"]:
        return walk.end(None if chain["sequence"] is None else Head(chain["sequence"], chain["hash"]))
    async with database.all_tenants(read_only=True) as statements:
        (entry,) = await rows.as_written(statements, chain["organization_id"], beyond, beyond, 1) or (None,)
    return Break("INSERTED", beyond, entry)


def hash_of(entry: Row) -> bytes:
    """SHA-256 of the hash before and of the fields as netstrings, as migrations/0002_audit.sql has it."""
    texts = [str(entry["organization_id"]), str(entry["sequence"]), _as_text(moment_of(entry["at_sent"]))]
    texts += [entry[name] for name in FIELDS]
    encoded = [text.encode() for text in texts]
    return hashlib.sha256(entry["previous_hash"] + b"".join(b"%d:%b," % (len(one), one) for one in encoded)).digest()


def moment_of(sent: bytes) -> datetime | None:
    """The moment of an entry, from microseconds since 2000; None for one that no entry was ever written at."""
    try:
        return POSTGRES_EPOCH + timedelta(microseconds=int.from_bytes(sent, "big", signed=True))
    except OverflowError:
        return None


def _as_text(at: datetime | None) -> str:
    return f"{at.year:04}-{at:%m-%dT%H:%M:%S}.{at.microsecond:06}Z" if at else ""
