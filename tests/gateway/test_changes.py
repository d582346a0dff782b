"""Changes of agents, out of a real stream: each once, to whoever wants it, and no further behind than agreed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from deploy.local.stack import Stack
from gateway.changes import Change, Changes, SlowConsumer, connect
from services.runtime.errors import StoreUnavailable
from services.runtime.events import Event, Position, encode, stream_key

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def redis(stack: Stack) -> AsyncIterator[Redis]:
    async with connect(stack.redis_url) as client:
        yield client


async def happen(
    redis: Redis, organization: UUID, *events: tuple[str, int], kind: str = "agent", **payload: Any
) -> None:
    """Relay events, each given by its agent and its revision, as the agent store does."""
    for agent_id, revision in events:
        event = Event(Position(1, 1), organization, agent_id, revision, kind, payload, NOW)
        await redis.xadd(stream_key(organization, "agent_store"), {"event": encode(event)})


async def take(subscription: AsyncIterator[Change], number: int) -> list[tuple[str, str, int]]:
    async with asyncio.timeout(10):
        changes = [await anext(subscription) for _ in range(number)]
    return [(change.type, change.agent_id, change.revision) for change in changes]


async def test_changes_from_now_on_are_told_in_order(redis: Redis) -> None:
    organization = uuid4()
    await happen(redis, organization, ("early", 1))
    subscription = await Changes(redis, depth=10).follow(organization, None)
    await happen(redis, organization, ("a", 1), ("a", 2), ("b", 1))
    await happen(redis, organization, ("a", 3), deleted=True)
    assert await take(subscription, 4) == [
        ("CREATED", "a", 1),
        ("UPDATED", "a", 2),
        ("CREATED", "b", 1),
        ("DELETED", "a", 3),
    ]
    await subscription.aclose()


async def test_what_comes_twice_or_late_or_is_no_agent_is_not_told(redis: Redis) -> None:
    organization = uuid4()
    subscription = await Changes(redis, depth=10).follow(organization, None)
    await happen(redis, organization, ("a", 2), ("a", 2), ("a", 1))
    await happen(redis, organization, ("run", 1), kind="execution")
    await happen(redis, organization, ("a", 3))
    assert await take(subscription, 2) == [("UPDATED", "a", 2), ("UPDATED", "a", 3)]
    await subscription.aclose()


async def test_subscribers_of_one_organization_share_a_reader_and_leave_it_alone(redis: Redis) -> None:
    organization, changes = uuid4(), Changes(redis, depth=10)
    before = await readers(redis)
    everything, one = await changes.follow(organization, None), await changes.follow(organization, "a")
    await until_readers(redis, before + 1)
    await happen(redis, organization, ("b", 1), ("a", 1))
    assert await take(everything, 2) == [("CREATED", "b", 1), ("CREATED", "a", 1)]
    assert await take(one, 1) == [("CREATED", "a", 1)]
    await everything.aclose()
    await happen(redis, organization, ("a", 2))
    assert await take(one, 1) == [("UPDATED", "a", 2)]
    await one.aclose()
    await until_readers(redis, before)


async def readers(redis: Redis) -> int:
    """How many connections wait for a stream."""
    clients: list[dict[str, str]] = await redis.client_list()
    return sum(client["cmd"] == "xread" and "b" in client["flags"] for client in clients)


async def until_readers(redis: Redis, number: int) -> None:
    async with asyncio.timeout(10):
        while True:
            if await readers(redis) == number:
                return
            await asyncio.sleep(0.05)


async def test_who_falls_too_far_behind_is_told_so_and_nothing_more(redis: Redis) -> None:
    organization, changes = uuid4(), Changes(redis, depth=3)
    slow, quick = await changes.follow(organization, None), await changes.follow(organization, None)
    for revision in range(1, 6):
        await happen(redis, organization, ("a", revision))
        await take(quick, 1)
    async with asyncio.timeout(10):
        with pytest.raises(SlowConsumer):
            await anext(slow)
    await quick.aclose()


async def test_one_organization_hears_nothing_of_another(redis: Redis) -> None:
    mine, other, changes = uuid4(), uuid4(), Changes(redis, depth=10)
    subscription = await changes.follow(mine, None)
    await happen(redis, other, ("secret", 1))
    await happen(redis, mine, ("own", 1))
    assert await take(subscription, 1) == [("CREATED", "own", 1)]
    await subscription.aclose()


async def test_where_redis_does_not_answer_nothing_can_be_followed() -> None:
    async with connect("redis://127.0.0.1:1") as nowhere:
        changes = Changes(nowhere, depth=1)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await changes.follow(uuid4(), None)
