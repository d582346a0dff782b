"""The Redis client on a real server: a span for each command, whatever becomes of it, and none where nobody asks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ResponseError, WatchError

from deploy.local import ports
from gateway.changes import Changes
from services.runtime.background import detached
from services.runtime.errors import StoreUnavailable
from services.runtime.events import Event, Position, encode, stream_key
from services.runtime.outcomes import CODES
from services.runtime.redis import connect
from services.runtime.span_wire import Kind
from services.runtime.telemetry import Recording, span
from tests.services.runtime.worker import recorded

if TYPE_CHECKING:
    from deploy.local.stack import Stack

SECRET = "swordfish"


@pytest_asyncio.fixture(loop_scope="session")
async def redis(stack: "Stack") -> AsyncIterator[Redis]:
    async with connect(stack.redis_url, block_seconds=30.0) as client:
        await client.ping()
        yield client


@pytest.fixture
def key() -> str:
    return f"{SECRET} {uuid4()}"


def told(recording: Recording) -> list[tuple[str, str]]:
    assert {span.kind for span in recording.spans} <= {Kind.REDIS}
    return [(span.name, CODES[span.status]) for span in recording.spans]


async def add_one(redis: Redis, key: str, value: str | bytes = SECRET) -> None:
    await redis.xadd(key, {"event": value})


async def add_many(redis: Redis, key: str) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for _ in range(3):
            pipeline.xadd(key, {"event": SECRET})
        pipeline.expire(key, 60)
        await pipeline.execute()


async def add_nothing(redis: Redis, key: str) -> None:
    async with redis.pipeline() as pipeline:
        await pipeline.execute()


async def add_what_was_watched(redis: Redis, key: str) -> None:
    async with redis.pipeline() as pipeline:
        await pipeline.watch(key)
        await redis.set(key, SECRET)
        pipeline.multi()  # type: ignore[no-untyped-call]
        pipeline.get(key)
        await pipeline.execute()


async def mistake(redis: Redis, key: str) -> None:
    await redis.set(key, SECRET)
    await redis.xadd(key, {"event": SECRET})


async def mistake_among_many(redis: Redis, key: str) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.set(key, SECRET)
        pipeline.xadd(key, {"event": SECRET})
        await pipeline.execute()


async def wait_too_long(redis: Redis, key: str) -> None:
    async with asyncio.timeout(0.05):
        await redis.xread({key: "$"}, block=60_000)


Work = Callable[[Redis, str], Awaitable[None]]
COMMANDS: list[tuple[Work, type[Exception] | None, list[tuple[str, str]]]] = [
    (add_one, None, [("XADD", "OK")]),
    (add_many, None, [("pipeline XADD x3, EXPIRE x1", "OK")]),
    (add_nothing, None, []),
    (add_what_was_watched, WatchError, [("WATCH", "OK"), ("SET", "OK"), ("pipeline GET x1", "UNKNOWN")]),
    (mistake, ResponseError, [("SET", "OK"), ("XADD", "UNKNOWN")]),
    (mistake_among_many, ResponseError, [("pipeline SET x1, XADD x1", "UNKNOWN")]),
    (wait_too_long, TimeoutError, [("XREAD", "CANCELLED")]),
]


@pytest.mark.parametrize(("work", "error", "spans"), COMMANDS)
async def test_a_command_is_a_span(
    redis: Redis, key: str, work: Work, error: type[Exception] | None, spans: list[tuple[str, str]]
) -> None:
    recording = recorded()
    if error is None:
        await work(redis, key)
    else:
        with pytest.raises(error):
            await work(redis, key)
    assert told(recording) == spans
    assert SECRET not in str(recording.spans)


@pytest.mark.parametrize("work", [add_one, add_many])
async def test_a_server_that_is_not_there_is_a_store_that_is_down(key: str, work: Work) -> None:
    recording = recorded()
    async with connect(f"redis://:{SECRET}@127.0.0.1:{ports.settle({'valkey': 0})['valkey']}/0") as nowhere:
        with pytest.raises(StoreUnavailable):
            await work(nowhere, key)
    assert [status for _, status in told(recording)] == ["UNAVAILABLE"]
    assert SECRET not in str(recording.spans)


async def test_a_wrong_password_is_one_too(stack: "Stack", key: str) -> None:
    recording = recorded()
    async with connect(f"redis://:{SECRET}@127.0.0.1:{stack.ports['valkey']}/0") as stranger:
        with pytest.raises(StoreUnavailable):
            await add_one(stranger, key)
    assert told(recording) == [("XADD", "UNAVAILABLE")]


async def test_commands_hang_under_what_asked_for_them(redis: Redis, key: str) -> None:
    recording = recorded()
    with span(Kind.INTERNAL, "outer"):
        await asyncio.gather(add_one(redis, key), add_many(redis, key))
    await add_one(redis, key)
    names = {recorded.number: recorded.name for recorded in recording.spans}
    parents = {(recorded.name, names.get(recorded.parent)) for recorded in recording.spans}
    many = "pipeline XADD x3, EXPIRE x1"
    assert parents == {("XADD", "outer"), (many, "outer"), ("outer", None), ("XADD", None)}


async def test_work_of_no_request_records_nothing(redis: Redis) -> None:
    recording, organization = recorded(), uuid4()
    subscription = await Changes(redis, depth=10).follow(organization, None)
    event = Event(Position(1, 1), organization, "a", 1, "agent", {}, datetime.now(UTC))
    await detached(add_one(redis, stream_key(organization, "agent_store"), encode(event)))
    assert (await anext(subscription)).agent_id == "a"
    await subscription.aclose()
    assert told(recording) == [("XREVRANGE", "OK")]
