"""What Redis is told of revocations, on a real one: it is complete, or it says nothing, whatever becomes of it."""

import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from deploy.local.stack import Stack
from services.auth.revocations import of_member, of_session
from services.auth.told import Told
from services.runtime.caller import Principal
from services.runtime.errors import StoreUnavailable, TokenRevoked
from services.runtime.redis import connect
from services.runtime.revocations import COMPLETE, COMPLETE_SECONDS, Hearing, key_of
from services.runtime.verifier import CACHE_SECONDS

ORGANIZATION, USER = uuid4(), uuid4()


@pytest_asyncio.fixture(loop_scope="session")
async def redis(stack: Stack) -> AsyncIterator[Redis]:
    """Another database of the same server: what auth itself tells is in the first."""
    async with connect(stack.redis_url.replace("/0", "/5")) as client:
        await client.flushdb()
        yield client


def until() -> float:
    return time.time() + 600


async def seconds(redis: Redis, session: UUID, version: int = 1) -> float | None:
    """What a verifier would be told that hears."""
    hearing = Hearing(redis)
    hearing._heard = True
    return await hearing.seconds(
        Principal(str(USER), "user", ORGANIZATION, frozenset(), str(session), until(), version)
    )


async def test_nothing_is_believed_before_all_is_told(redis: Redis) -> None:
    told, session = Told(redis), uuid4()
    assert await seconds(redis, session) is None
    assert not await told.has_the_rest()
    await told.tell([(of_session(ORGANIZATION, uuid4()), until())])
    assert await seconds(redis, session) is None
    await told.tell_all([])
    assert await told.has_the_rest()
    assert 0 < (await seconds(redis, session) or 0) <= CACHE_SECONDS


async def test_sessions_and_older_versions_are_revoked(redis: Redis) -> None:
    told, ended = Told(redis), uuid4()
    await told.tell_all([(of_session(ORGANIZATION, ended), until()), (of_member(ORGANIZATION, USER, 4), until())])
    with pytest.raises(TokenRevoked):
        await seconds(redis, ended, version=4)
    with pytest.raises(TokenRevoked):
        await seconds(redis, uuid4(), version=3)
    assert await seconds(redis, uuid4(), version=4)


async def test_a_replica_that_is_late_takes_nothing_back(redis: Redis) -> None:
    told, late = Told(redis), Told(redis)
    name = of_member(ORGANIZATION, USER, 0).name
    await told.tell_all([(of_member(ORGANIZATION, USER, 4), until())])
    await late.tell_all([(of_member(ORGANIZATION, USER, 3), time.time() + 60)])
    with pytest.raises(TokenRevoked):
        await seconds(redis, uuid4(), version=3)
    assert await redis.pttl(key_of(name)) > 500_000


async def test_an_emptied_redis_is_told_all_again_by_every_replica(redis: Redis) -> None:
    one, two, session = Told(redis), Told(redis), uuid4()
    await one.tell_all([])
    await two.tell_all([])
    assert await one.has_the_rest()
    await redis.flushdb()
    assert await seconds(redis, session) is None
    await one.tell([])  # renews what is there, and makes nothing
    assert await seconds(redis, session) is None
    assert not await one.has_the_rest()
    await one.tell_all([(of_session(ORGANIZATION, session), until())])
    assert not await two.has_the_rest()
    await two.tell_all([])
    assert await one.has_the_rest()
    with pytest.raises(TokenRevoked):
        await seconds(redis, session)


async def test_what_is_emptied_while_it_is_told_is_not_complete(redis: Redis) -> None:
    class Interrupted(Told):
        async def _finished(self, beginning: str) -> bool:
            await redis.flushdb()
            return await super()._finished(beginning)

    await Interrupted(redis).tell_all([(of_session(ORGANIZATION, uuid4()), until())])
    assert await redis.exists(COMPLETE) == 0


async def test_what_was_evicted_is_told_again(redis: Redis) -> None:
    told = Told(redis)
    await told.tell_all([])
    assert told._mark is not None
    for change in ({"evicted": told._mark.evicted + 1}, {"run_id": "another"}, {"complete": b"another"}):
        mark = told._mark
        told._mark = mark._replace(**change)
        assert not await told.has_the_rest()
        told._mark = mark
    assert await told.has_the_rest()


async def test_the_longer_auth_is_away_the_shorter_is_redis_believed(redis: Redis) -> None:
    told = Told(redis)
    await told.tell_all([])
    await redis.pexpire(COMPLETE, 1_000)
    left = await seconds(redis, uuid4())
    assert left is not None
    assert left <= CACHE_SECONDS - COMPLETE_SECONDS + 1
    assert told.is_due() is False


async def test_without_redis_it_says_so(stack: Stack) -> None:
    async with connect("redis://127.0.0.1:1/0") as nobody:
        with pytest.raises(StoreUnavailable):
            await Told(nobody).tell_all([])
        assert await seconds(nobody, uuid4()) is None
