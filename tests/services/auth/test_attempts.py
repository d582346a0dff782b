"""Limits on attempts: the same rules in Redis and in memory, and there is always a limit."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from deploy.local import ports
from deploy.local.stack import Stack
from services.auth.attempts import Attempts, Limits
from services.auth.origin import Origin
from services.auth.store.attempts import Counters, LocalCounters, SharedCounters
from services.runtime.errors import (
    CredentialsInvalid,
    DeadlineExceeded,
    DomainError,
    Overloaded,
    SecondFactorRequired,
    TooManyAttempts,
)
from services.runtime.redis import connect

LIMITS = Limits(pair=2, address=4, account=3, deeds=2, resets=1)
HERE, THERE = Origin("192.0.2.1"), Origin("198.51.100.7")


@pytest_asyncio.fixture(loop_scope="session")
async def redis(stack: Stack) -> AsyncIterator[Redis]:
    async with connect(stack.redis_url) as client:
        yield client


@pytest.fixture(params=["in Redis", "in memory"])
def counters(request: pytest.FixtureRequest, redis: Redis) -> Counters:
    return SharedCounters(redis, LocalCounters()) if request.param == "in Redis" else LocalCounters()


@pytest.fixture
def attempts(counters: Counters) -> Attempts:
    """With a key of its own, and so with counters of its own."""
    return Attempts(counters, uuid4().bytes, LIMITS)


async def fail(attempts: Attempts, account: str, origin: Origin, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(CredentialsInvalid):
            async with attempts.attempt(account, origin):
                raise CredentialsInvalid


async def waits(attempts: Attempts, account: str, origin: Origin) -> int:
    """The seconds that an attempt is told to wait; 0 for one that was let in."""
    try:
        await attempts.check(account, origin)
    except TooManyAttempts as error:
        return int(error.metadata["retry_after_seconds"])
    return 0


async def test_after_the_free_ones_an_account_waits_for_an_address(attempts: Attempts) -> None:
    await fail(attempts, "ada@example.org", HERE, 2)
    assert await waits(attempts, " ADA@Example.org", HERE) == 1
    assert await waits(attempts, "ada@example.org", THERE) == 0
    assert await waits(attempts, "bob@example.org", HERE) == 0


async def test_a_thousand_at_once_are_no_more_than_one_after_another(attempts: Attempts) -> None:
    waited = await asyncio.gather(*(waits(attempts, "ada@example.org", HERE) for _ in range(1_000)))
    assert waited.count(0) == 2


async def test_success_clears_and_makes_familiar(attempts: Attempts) -> None:
    await fail(attempts, "ada@example.org", HERE)
    async with attempts.attempt("ada@example.org", HERE):
        pass
    await fail(attempts, "ada@example.org", HERE)
    assert await waits(attempts, "ada@example.org", HERE) == 0


async def test_strangers_slow_the_owner_down_only_where_the_owner_is_new(attempts: Attempts) -> None:
    async with attempts.attempt("ada@example.org", HERE):
        pass
    for each in range(3):
        await fail(attempts, "ada@example.org", Origin(f"203.0.113.{each}"))
    assert await waits(attempts, "ada@example.org", THERE) == 1
    assert await waits(attempts, "ada@example.org", HERE) == 0


async def test_an_address_that_tries_many_accounts_waits_for_each_but_its_own(attempts: Attempts) -> None:
    async with attempts.attempt("eve@example.org", HERE):
        pass
    for each in range(4):
        await fail(attempts, f"{each}@example.org", HERE)
    assert await waits(attempts, "one-more@example.org", HERE) == 1
    assert await waits(attempts, "eve@example.org", HERE) == 0


async def test_an_account_of_ones_own_does_not_clear_the_address(attempts: Attempts) -> None:
    for each in range(3):
        await fail(attempts, f"{each}@example.org", HERE)
        async with attempts.attempt("eve@example.org", HERE):
            pass
    await fail(attempts, "3@example.org", HERE)
    assert await waits(attempts, "4@example.org", HERE) == 1


@pytest.mark.parametrize("error", [Overloaded, SecondFactorRequired])
async def test_what_was_not_judged_is_not_counted(attempts: Attempts, error: type[DomainError]) -> None:
    for _ in range(5):
        with pytest.raises(error):
            async with attempts.attempt("ada@example.org", HERE):
                raise error
    assert await waits(attempts, "ada@example.org", HERE) == 0


@pytest.mark.parametrize("error", [asyncio.CancelledError, DeadlineExceeded])
async def test_who_leaves_half_way_is_counted(attempts: Attempts, error: type[BaseException]) -> None:
    for _ in range(2):
        with pytest.raises(error):
            async with attempts.attempt("ada@example.org", HERE):
                raise error
    assert await waits(attempts, "ada@example.org", HERE) == 1


SPELLINGS = [
    "ADA.K@example.org",
    "ada.\N{KELVIN SIGN}@example.org",
    "\N{LATIN CAPITAL LETTER A WITH ACUTE}da.k@example.org",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_other_spellings_are_no_other_accounts(attempts: Attempts, spelling: str) -> None:
    await fail(attempts, "ada.k@example.org", HERE, 2)
    assert await waits(attempts, spelling, HERE) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("", "no address", True),
    ],
)
async def test_an_address_is_what_one_caller_has(attempts: Attempts, one: str, other: str, same: bool) -> None:
    await fail(attempts, "ada@example.org", Origin(one), 2)
    assert (await waits(attempts, "ada@example.org", Origin(other)) == 1) is same


async def test_deeds_and_resets_have_limits_of_their_own(attempts: Attempts) -> None:
    for _ in range(2):
        await attempts.deed("register", HERE)
    with pytest.raises(TooManyAttempts):
        await attempts.deed("register", HERE)
    await attempts.deed("register", THERE)
    await attempts.reset("ada@example.org")
    with pytest.raises(TooManyAttempts) as caught:
        await attempts.reset("ADA@example.org")
    assert caught.value.metadata == {"retry_after_seconds": "1200"}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_pauses_double_and_end() -> None:
    clock = Clock()
    attempts, seen = Attempts(LocalCounters(clock), b"key", LIMITS), []
    await fail(attempts, "ada@example.org", HERE, 2)
    for _ in range(13):
        wait = await waits(attempts, "ada@example.org", HERE)
        seen.append(wait)
        clock.now += wait
        await fail(attempts, "ada@example.org", HERE)
    assert seen == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]
    clock.now += 86_400
    assert await waits(attempts, "ada@example.org", HERE) == 0


async def test_the_pause_begins_with_the_end_of_an_attempt() -> None:
    clock = Clock()
    attempts = Attempts(LocalCounters(clock), b"key", LIMITS)
    await fail(attempts, "ada@example.org", HERE)
    await attempts.check("ada@example.org", HERE)
    clock.now += 5
    await attempts.failed("ada@example.org", HERE)
    assert await waits(attempts, "ada@example.org", HERE) == 1


async def test_without_redis_there_is_a_limit_still() -> None:
    port = ports.settle({"valkey": 0})["valkey"]
    async with connect(f"redis://{ports.HOST}:{port}") as nobody:
        attempts = Attempts(SharedCounters(nobody, LocalCounters()), b"key", LIMITS)
        await fail(attempts, "ada@example.org", HERE, 2)
        assert await waits(attempts, "ada@example.org", HERE) == 1


async def test_memory_is_bounded() -> None:
    counters = LocalCounters(most=10)
    attempts = Attempts(counters, b"key", LIMITS)
    for each in range(100):
        await attempts.check(f"{each}@example.org", Origin(f"10.0.0.{each}"))
    assert len(counters) == 10


async def test_redis_holds_no_address_in_clear(attempts: Attempts, redis: Redis) -> None:
    await fail(attempts, "ada-in-clear@example.org", HERE)
    keys = [key async for key in redis.scan_iter("auth:*")]
    assert not [key for key in keys if b"ada" in key or b"192.0.2" in key or b"example" in key]
