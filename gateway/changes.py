"""Changes of agents as they happen: one reader of Redis for each organization, however many subscribers it has.

Redis may be lost whole, and hands an event on at least once. A subscriber is therefore told what has changed, and reads
how it stands from the agent store.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.errors import RequestError
from services.runtime import redis
from services.runtime.background import detached
from services.runtime.errors import StoreUnavailable
from services.runtime.events import stream_key

BATCH = 100
BLOCK_MS = 2_000
MAX_READERS = 100_000
PAUSE_SECONDS = 0.5
REMEMBERED = 10_000
BEGINNING = b"0-0"

log = structlog.get_logger()


class SlowConsumer(RequestError):
    """A subscriber has fallen too far behind; its subscription is over."""

    code: ClassVar[str] = "RESOURCE_EXHAUSTED"
    reason: ClassVar[str] = "SLOW_CONSUMER"


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to an agent."""

    type: str
    agent_id: str
    revision: int
    change_time: datetime


class Subscription:
    """The changes that one subscriber has not taken yet: a bounded number of them."""

    def __init__(self, reader: "_Reader", agent_id: str | None, depth: int) -> None:
        self._reader = reader
        self._agent_id = agent_id
        self._queue: asyncio.Queue[Change | SlowConsumer] = asyncio.Queue(depth)

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        taken = await self._queue.get()
        if isinstance(taken, SlowConsumer):
            raise taken
        return taken

    async def aclose(self) -> None:
        """Want no more."""
        self._reader.leave(self)

    def offer(self, change: Change) -> None:
        """Queue the change if it is wanted. When there is no room left, that is the last thing to be told."""
        if self._agent_id not in (None, change.agent_id):
            return
        if not self._queue.full():
            self._queue.put_nowait(change)
            return
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(SlowConsumer("changes came faster than they were taken; subscribe again"))
        self._reader.leave(self)


def connect(url: str) -> Redis:
    """A client for `Changes`: each connection may wait for events, and there is one for each organization followed."""
    return redis.connect(url, BLOCK_MS / 1_000, MAX_READERS)


class Changes:
    """Where subscribers come to."""

    def __init__(self, redis: Redis, depth: int) -> None:
        self._redis = redis
        self._depth = depth
        self._readers: dict[UUID, _Reader] = {}

    async def follow(self, organization_id: UUID, agent_id: str | None) -> Subscription:
        """Changes from now on, of one agent or of all. Raises StoreUnavailable."""
        reader = self._readers.get(organization_id)
        if reader is None:
            reader = self._readers[organization_id] = _Reader(self._redis, organization_id, self._readers)
        subscription = Subscription(reader, agent_id, self._depth)
        await reader.join(subscription)
        return subscription


class _Reader:
    """Reads one organization's stream as long as anyone listens."""

    def __init__(self, redis: Redis, organization_id: UUID, readers: "dict[UUID, _Reader]") -> None:
        self._redis = redis
        self._organization_id = organization_id
        self._readers = readers
        self._key = stream_key(organization_id, "agent_store")
        self._subscriptions: set[Subscription] = set()
        self._revisions: dict[str, int] = {}
        self._position: asyncio.Future[bytes] = asyncio.ensure_future(self._tip())
        self._task = detached(self._run())

    async def join(self, subscription: Subscription) -> None:
        """Let the subscription have every change that comes after this returns."""
        self._subscriptions.add(subscription)
        try:
            await asyncio.shield(self._position)
        except BaseException:
            self.leave(subscription)
            raise

    def leave(self, subscription: Subscription) -> None:
        """Forget the subscription, and with the last one the reading."""
        self._subscriptions.discard(subscription)
        if not self._subscriptions and self._readers.get(self._organization_id) is self:
            del self._readers[self._organization_id]
            self._task.cancel()

    async def _tip(self) -> bytes:
        newest = await self._redis.xrevrange(self._key, count=1)
        entry_id: Any = newest[0][0] if newest else BEGINNING
        return bytes(entry_id)

    async def _run(self) -> None:
        position = BEGINNING
        with suppress(StoreUnavailable):  # those who wait for the first position are told
            position = await asyncio.shield(self._position)
        while self._subscriptions:  # redis-py can swallow a cancellation
            try:
                streams: Any = await self._redis.xread({self._key: position}, count=BATCH, block=BLOCK_MS)
            except (StoreUnavailable, RedisError) as error:
                log.warning("changes are not read", error=repr(error), again_in=PAUSE_SECONDS)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            for entry_id, fields in _entries(streams):
                position = entry_id
                self._publish(orjson.loads(fields[b"event"]))

    def _publish(self, event: dict[str, Any]) -> None:
        agent_id, revision = event["entity_id"], event["revision"]
        if event["kind"] != "agent" or self._revisions.get(agent_id, 0) >= revision:
            return
        self._revisions[agent_id] = revision
        if len(self._revisions) > REMEMBERED:
            del self._revisions[next(iter(self._revisions))]
        change = Change(_type(event), agent_id, revision, datetime.fromisoformat(event["create_time"]))
        for subscription in list(self._subscriptions):
            subscription.offer(change)


def _entries(streams: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Of one stream; RESP3 answers with a mapping of streams, RESP2 with pairs."""
    found = streams.items() if isinstance(streams, dict) else streams or ()
    return [entry for _, entries in found for entry in entries]


def _type(event: dict[str, Any]) -> str:
    if event["payload"].get("deleted"):
        return "DELETED"
    return "CREATED" if event["revision"] == 1 else "UPDATED"
