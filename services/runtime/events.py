"""The outbox of a service: each change adds a row in its own transaction, is read as a feed, and goes on to Redis.

A schema with a feed has the tables `outbox` and `relays` of services/agent_store/migrations/0001_agents.sql, and its
pool reads jsonb as objects.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis

from services.runtime.background import in_background
from services.runtime.metrics import events_relayed
from services.runtime.postgres import Database, Row, Statements

BATCH = 500
POLL_SECONDS = 0.1
"""How late an event can be that another replica committed, whose wake is not heard here."""
GATHER_SECONDS = 0.01
SIGN_OF_LIFE_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
STREAM_LENGTH = 10_000
"""Roughly how many of a tenant's events Redis keeps, for those who join a little late."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a feed; without arguments, its beginning. As text, opaque to readers."""

    transaction_id: int = 0
    sequence: int = 0

    def __str__(self) -> str:
        return f"{self.transaction_id}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """The position that a text stands for, empty for the beginning. Raises ValueError."""
        match = re.fullmatch(r"([0-9]{1,18})\.([0-9]{1,18})", text or str(cls()))
        if match is None:
            raise ValueError("this is no position of a feed")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Event:
    """One change as it was committed; `kind` names the payload in neurectomy.events.v1.Event."""

    position: Position
    organization_id: UUID
    entity_id: str
    revision: int
    kind: str
    payload: dict[str, Any]
    create_time: datetime


class Wake:
    """Tells everyone in this process who waits for events that there may be some."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Is set by the next call. Take it before looking for events, so that none comes in between unnoticed."""
        return self._next

    def call(self) -> None:
        """Wake all who wait now."""
        self._next.set()
        self._next = asyncio.Event()


READ = """
SELECT transaction_id, sequence, organization_id, entity_id, revision, kind, payload, created_at
FROM outbox
WHERE (transaction_id, sequence) > ($1, $2) AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY transaction_id, sequence
LIMIT $3
"""


class Feed:
    """All committed events of a schema, of all organizations, oldest first.

    Gap-proof: a row's sequence is taken before its commit, so that rows of a slow transaction appear behind newer ones.
    Only rows below every transaction still in progress are read, in the order of transactions; none can come before.
    """

    def __init__(self, database: Database, wake: Wake, poll_seconds: float = POLL_SECONDS) -> None:
        self._database = database
        self._wake = wake
        self._poll_seconds = poll_seconds
        self._closed = False

    async def read(self, after: Position, limit: int = BATCH) -> list[Event]:
        """Up to `limit` events behind the position."""
        async with self._database.all_tenants(read_only=True) as statements:
            return await read(statements, after, limit)

    async def watch(self, after: Position) -> AsyncGenerator[list[Event], None]:
        """Batches of events behind the position, as they come; an empty one every 5 s in which none came."""
        loop = asyncio.get_running_loop()
        last_sign = loop.time()
        while not self._closed:
            call = self._wake.next()
            events = await self.read(after)
            if events or loop.time() - last_sign >= SIGN_OF_LIFE_SECONDS:
                yield events
                after, last_sign = events[-1].position if events else after, loop.time()
            if len(events) < BATCH:
                await _heard(call, self._poll_seconds)

    def close(self) -> None:
        """Let every watch end, so that a server can drain."""
        self._closed = True
        self._wake.call()


async def read(statements: Statements, after: Position, limit: int = BATCH) -> list[Event]:
    """Up to `limit` events behind the position, in a transaction across organizations."""
    rows = await statements.fetch("SELECT outbox", READ, after.transaction_id, after.sequence, limit)
    return [_event(row) for row in rows]


def _event(row: Row) -> Event:
    transaction_id, sequence, *rest = row
    return Event(Position(transaction_id, sequence), *rest)


async def _heard(call: asyncio.Event, patience: float) -> None:
    """Return at the call, or when it is time to look by oneself.

    Not within 10 ms, though: one look at many commits costs what one look at one does.
    """
    await asyncio.sleep(GATHER_SECONDS)
    with suppress(TimeoutError):
        await asyncio.wait_for(call.wait(), patience)


LOCK = "SELECT pg_try_advisory_xact_lock(hashtext($1)) AS mine"
SELECT_RELAY = "SELECT position FROM relays WHERE name = $1"
SAVE_RELAY = """
INSERT INTO relays (name, position) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET position = excluded.position
"""


def stream_key(organization_id: UUID, service: str) -> str:
    """The Redis stream of one tenant's events from one service."""
    return f"{organization_id}:{service}:events"


def encode(event: Event) -> bytes:
    """The event as it stands in the field `event` of a stream's entries: JSON, times in RFC 3339."""
    fields = {
        "position": str(event.position),
        "organization_id": str(event.organization_id),
        "entity_id": event.entity_id,
        "revision": event.revision,
        "kind": event.kind,
        "payload": event.payload,
        "create_time": event.create_time,
    }
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)


class Relay:
    """Hands the outbox on to Redis Streams, at least once and in order; of all replicas, one at a time does so.

    Where the outbox stands is saved behind the hand-over, so what Redis misses while it is down comes when it is back.
    """

    def __init__(self, database: Database, wake: Wake, redis: Redis, service: str, length: int = STREAM_LENGTH) -> None:
        self._database = database
        self._wake = wake
        self._redis = redis
        self._service = service
        self._length = length

    def running(self) -> AbstractAsyncContextManager[None]:
        """Relay in the background."""
        return in_background(self._run())

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            call = self._wake.next()
            try:
                relayed = await self.relay()
            except Exception as error:  # whatever it is, events must not stop for good
                log.warning("events are not relayed", error=repr(error), again_in=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            if relayed < BATCH:
                await _heard(call, POLL_SECONDS)

    async def relay(self) -> int:
        """Hand on a batch; return how many, 0 also while another process is at it. Raises RedisError, DomainError."""
        async with self._database.all_tenants() as statements:
            if not await self._mine(statements):
                return 0
            events = await read(statements, await self._position(statements))
            if events:
                await self._add(events)
                await statements.execute("UPSERT relays", SAVE_RELAY, self._service, str(events[-1].position))
        events_relayed.inc(len(events))
        return len(events)

    async def _mine(self, statements: Statements) -> bool:
        row = await statements.fetchrow("lock relay", LOCK, f"relay {self._service}")
        return row is not None and bool(row["mine"])

    async def _position(self, statements: Statements) -> Position:
        row = await statements.fetchrow("SELECT relays", SELECT_RELAY, self._service)
        return Position.parse(row["position"] if row else "")

    async def _add(self, events: Sequence[Event]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for event in events:
                key = stream_key(event.organization_id, self._service)
                pipeline.xadd(key, {"event": encode(event)}, maxlen=self._length, approximate=True)
            await pipeline.execute()
