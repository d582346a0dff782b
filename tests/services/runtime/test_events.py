"""The outbox as a feed that skips nothing, and its relay to Redis, on real stores."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from deploy.local import ports, valkey
from deploy.local.processes import Supervised
from deploy.local.state import State
from services.runtime import postgres
from services.runtime.errors import StoreUnavailable
from services.runtime.events import Event, Feed, Position, Relay, Wake, stream_key
from services.runtime.postgres import Database, Statements
from services.runtime.redis import connect

if TYPE_CHECKING:
    from deploy.local.stack import Stack

PAYLOAD = {
    "name": "A",
    "status": "DRAFT",
    "owner_id": str(uuid4()),
    "topics": [],
    "collection_ids": [],
    "deleted": False,
}
INSERT = """
INSERT INTO outbox (organization_id, entity_id, revision, kind, payload)
SELECT $1, $2, revision, 'agent', $3 FROM generate_series($4::bigint, $5) AS revision
"""
NOW = "SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon"
TIMEOUT = 30


@pytest_asyncio.fixture(loop_scope="session")
async def database(stack: "Stack") -> AsyncIterator[Database]:
    url = stack.database_url("agent_store")
    async with postgres.connect(url, init=postgres.jsonb_as_objects) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="session")
async def redis(stack: "Stack") -> AsyncIterator[Redis]:
    async with connect(stack.redis_url) as client:
        yield client


@pytest.fixture
def organization_id() -> UUID:
    return uuid4()


async def tell(statements: Statements, organization_id: UUID, first: int, last: int | None = None) -> None:
    """Change the organization's one entity; the revisions say in which order."""
    values = (organization_id, str(organization_id), PAYLOAD, first, last or first)
    await statements.execute("INSERT outbox", INSERT, *values)


async def told(database: Database, organization_id: UUID, first: int, last: int | None = None) -> None:
    async with database.tenant(organization_id) as statements:
        await tell(statements, organization_id, first, last)


async def now(database: Database) -> Position:
    """A position that everything committed from now on is behind."""
    async with database.all_tenants(read_only=True) as statements:
        row = await statements.fetchrow("SELECT horizon", NOW)
    assert row is not None
    return Position(row["horizon"] - 1, 10**17)


async def until(feed: Feed, after: Position, organization_id: UUID, count: int) -> list[Event]:
    """The organization's next so many events."""
    found: list[Event] = []
    async with asyncio.timeout(TIMEOUT), aclosing(feed.watch(after)) as batches:
        async for events in batches:
            found += [event for event in events if event.organization_id == organization_id]
            if len(found) >= count:
                return found
    raise AssertionError("the feed ended")


@pytest.mark.parametrize(
    "text", ["x", "1", "1.", ".1", "1.2.3", "-1.2", "1.-2", " 1.2", "1.2\n", "¹.²", f"{'9' * 19}.1"]
)
def test_other_texts_are_no_positions(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        Position.parse(text)


def test_positions_are_ordered_by_transaction_first() -> None:
    texts = ["", "0.1", "9.2", "10.1", "10.2", "10.10"]
    positions = [Position.parse(text) for text in texts]
    assert positions == sorted(positions)
    assert [str(position) for position in positions] == ["0.0", *texts[1:]]


def test_a_wake_is_for_those_who_wait_already() -> None:
    wake = Wake()
    before = wake.next()
    wake.call()
    assert before.is_set()
    assert not wake.next().is_set()


async def test_an_event_is_read_as_it_was_written(database: Database, organization_id: UUID) -> None:
    start = await now(database)
    await told(database, organization_id, 7)
    [event] = await until(Feed(database, Wake()), start, organization_id, 1)
    assert (event.entity_id, event.revision, event.kind, event.payload) == (str(organization_id), 7, "agent", PAYLOAD)
    assert event.create_time.tzinfo is not None


@pytest.mark.parametrize("sequence_first", [True, False], ids=["sequence taken first", "sequence taken last"])
async def test_a_slow_transaction_is_not_skipped(
    database: Database, organization_id: UUID, sequence_first: bool
) -> None:
    feed, start = Feed(database, Wake()), await now(database)
    async with database.tenant(organization_id) as slow:
        if sequence_first:
            await tell(slow, organization_id, 1)
        else:
            await slow.execute("SELECT transaction", "SELECT pg_current_xact_id()")
        await told(database, organization_id, 2)
        early = await feed.read(start)
        assert [event for event in early if event.organization_id == organization_id] == []
        if not sequence_first:
            await tell(slow, organization_id, 1)
    events = await until(feed, start, organization_id, 2)
    assert [event.revision for event in events] == [1, 2]
    first, second = (event.position.sequence for event in events)
    assert (first < second) == sequence_first


async def test_of_many_transactions_of_any_length_none_is_skipped(database: Database, organization_id: UUID) -> None:
    async def change(revision: int) -> None:
        async with database.tenant(organization_id) as statements:
            if revision % 2:
                await statements.execute("SELECT transaction", "SELECT pg_current_xact_id()")
            await asyncio.sleep(random.random() / 50)
            await tell(statements, organization_id, revision)
            await asyncio.sleep(random.random() / 50)
        wake.call()

    wake = Wake()
    feed, start = Feed(database, wake), await now(database)
    reader = asyncio.create_task(until(feed, start, organization_id, 300))
    for wave in range(20):
        await asyncio.gather(*(change(15 * wave + n) for n in range(15)))
    events = await reader
    assert sorted(event.revision for event in events) == list(range(300))
    assert [event.position for event in events] == sorted({event.position for event in events})


async def test_a_reader_goes_on_behind_any_event(database: Database, organization_id: UUID) -> None:
    feed, start = Feed(database, Wake()), await now(database)
    await told(database, organization_id, 1, 3)
    first, second, third = await until(feed, start, organization_id, 3)
    assert await until(feed, first.position, organization_id, 2) == [second, third]
    assert await until(feed, Position.parse(str(second.position)), organization_id, 1) == [third]
    assert len(await feed.read(start, limit=2)) == 2


async def test_a_commit_elsewhere_is_seen_without_a_wake(database: Database, organization_id: UUID) -> None:
    feed, start = Feed(database, Wake()), await now(database)
    reader = asyncio.create_task(until(feed, start, organization_id, 1))
    await asyncio.sleep(0.3)
    await told(database, organization_id, 1)
    assert [event.revision for event in await reader] == [1]


async def test_a_wake_is_heard_at_once(database: Database, organization_id: UUID) -> None:
    wake = Wake()
    feed, start = Feed(database, wake, poll_seconds=10 * TIMEOUT), await now(database)
    reader = asyncio.create_task(until(feed, start, organization_id, 1))
    await asyncio.sleep(0.3)
    assert not reader.done()
    while not reader.done():  # a transaction of somebody else may hold back what is committed
        await told(database, organization_id, 1)
        wake.call()
        await asyncio.sleep(0.2)
    assert await reader


async def test_a_closed_feed_ends_its_watches(database: Database) -> None:
    feed = Feed(database, Wake())
    start = await now(database)

    async def watch() -> None:
        async for _ in feed.watch(start):
            pass

    watches = [asyncio.create_task(watch()) for _ in range(3)]
    await asyncio.sleep(0.2)
    feed.close()
    await asyncio.wait_for(asyncio.gather(*watches), timeout=4)


async def relay_from(database: Database, start: Position, redis: Redis) -> tuple[Relay, str]:
    """A relay of its own, that begins behind a position."""
    service = f"test-{uuid4()}"
    await rewind(database, service, start)
    return Relay(database, Wake(), redis, service), service


async def rewind(database: Database, service: str, position: Position) -> None:
    upsert = "INSERT INTO relays VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET position = excluded.position"
    async with database.all_tenants() as statements:
        await statements.execute("UPSERT relays", upsert, service, str(position))


async def entries(redis: Redis, organization_id: UUID, service: str) -> list[dict[str, Any]]:
    found: Any = await redis.xrange(stream_key(organization_id, service))
    return [orjson.loads(fields[b"event"]) for _, fields in found]


async def handed_on(redis: Redis, organization_id: UUID, service: str, count: int) -> list[dict[str, Any]]:
    """The stream's entries, once there are so many."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            with suppress(StoreUnavailable):  # a connection that is older than the server's last start
                found = await entries(redis, organization_id, service)
                if len(found) >= count:
                    return found
            await asyncio.sleep(0.02)


async def test_events_reach_the_stream_of_their_tenant(database: Database, redis: Redis, organization_id: UUID) -> None:
    start, other = await now(database), uuid4()
    relay, service = await relay_from(database, start, redis)
    async with relay.running():
        await told(database, organization_id, 1, 2)
        await told(database, other, 1)
        own = await handed_on(redis, organization_id, service, 2)
        assert len(await handed_on(redis, other, service, 1)) == 1
    events = await until(Feed(database, Wake()), start, organization_id, 2)
    assert own == [
        {
            "position": str(event.position),
            "organization_id": str(organization_id),
            "entity_id": event.entity_id,
            "revision": event.revision,
            "kind": "agent",
            "payload": PAYLOAD,
            "create_time": event.create_time.isoformat().replace("+00:00", "Z"),
        }
        for event in events
    ]
    assert datetime.fromisoformat(own[0]["create_time"]) == events[0].create_time


async def test_what_was_handed_on_is_not_handed_on_again_unless_that_was_not_saved(
    database: Database, redis: Redis, organization_id: UUID
) -> None:
    start = await now(database)
    relay, service = await relay_from(database, start, redis)
    await told(database, organization_id, 1)
    await until(Feed(database, Wake()), start, organization_id, 1)
    while await relay.relay():
        pass
    assert await relay.relay() == 0
    [once] = await entries(redis, organization_id, service)
    await rewind(database, service, start)
    await relay.relay()
    assert await entries(redis, organization_id, service) == [once, once]


async def test_of_several_relays_one_at_a_time_works(database: Database, redis: Redis, organization_id: UUID) -> None:
    start = await now(database)
    relay, service = await relay_from(database, start, redis)
    others = [Relay(database, Wake(), redis, service) for _ in range(2)]
    async with relay.running(), others[0].running(), others[1].running():
        for revision in range(1, 101):
            await told(database, organization_id, revision)
        found = await handed_on(redis, organization_id, service, 100)
        await asyncio.sleep(0.3)
    assert [event["revision"] for event in found] == list(range(1, 101))
    assert await entries(redis, organization_id, service) == found


async def test_a_stream_keeps_the_newest(database: Database, redis: Redis, organization_id: UUID) -> None:
    start, service = await now(database), f"test-{uuid4()}"
    await rewind(database, service, start)
    await told(database, organization_id, 1, 400)
    await until(Feed(database, Wake()), start, organization_id, 400)
    relay = Relay(database, Wake(), redis, service, length=100)
    while await relay.relay():
        pass
    found = await entries(redis, organization_id, service)
    assert 100 <= len(found) < 300
    assert [event["revision"] for event in found] == list(range(401 - len(found), 401))


async def test_redis_may_be_down_and_misses_nothing(database: Database, organization_id: UUID, tmp_path: Path) -> None:
    state, port = State(tmp_path), ports.settle({"valkey": 0})["valkey"]
    server = Supervised(valkey.prepare(state, port))
    async with connect(valkey.url(state.secret("valkey"), port)) as redis:
        relay, service = await relay_from(database, await now(database), redis)
        async with relay.running():
            for revision in (1, 2):
                await told(database, organization_id, revision)
                await asyncio.sleep(0.5)
                await server.start()
                found = await handed_on(redis, organization_id, service, revision)
                await server.stop()
    assert [event["revision"] for event in found] == [1, 2]
