"""Hashing: what is refused without being computed, what waits, what is hashed anew, and in which memory."""

import asyncio
import os
import threading
import time
import unicodedata
from collections.abc import Iterator

import argon2
import pytest

from services.auth.passwords import NICENESS, HashingPool, Passwords, Profile
from services.runtime.deadlines import set_budget
from services.runtime.errors import CredentialsInvalid, DeadlineExceeded, InvalidFields, Overloaded

PASSWORD = "correct horse battery staple"
MEGABYTES = Profile.RFC_9106_LOW_MEMORY.megabytes
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


@pytest.fixture(scope="module")
def pool() -> Iterator[HashingPool]:
    with HashingPool(MEGABYTES, MEGABYTES, queue=8) as made:
        yield made


@pytest.fixture(scope="module")
def passwords(pool: HashingPool) -> Passwords:
    return Passwords(Profile.RFC_9106_LOW_MEMORY, pool)


async def test_the_default_is_the_profile_of_rfc_9106(passwords: Passwords) -> None:
    assert (await passwords.hash(PASSWORD)).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_right_and_wrong(passwords: Passwords) -> None:
    stored = await passwords.hash(PASSWORD)
    assert (await passwords.check(PASSWORD, stored)).rehashed is None
    for password, of in (("another one than that", stored), (PASSWORD + "\0", stored), (PASSWORD, None)):
        with pytest.raises(CredentialsInvalid):
            await passwords.check(password, of)


async def test_a_hash_with_other_parameters_is_made_anew(passwords: Passwords) -> None:
    checked = await passwords.check(PASSWORD, CHEAP.hash(PASSWORD))
    assert checked.rehashed is not None
    assert (await passwords.check(PASSWORD, checked.rehashed)).rehashed is None
    with pytest.raises(CredentialsInvalid):
        await passwords.check("another one than that", CHEAP.hash(PASSWORD))


def asking(**parameters: int) -> str:
    asked = {"m": 65536, "t": 3, "p": 4, **parameters}
    return f"$argon2id$v=19$m={asked['m']},t={asked['t']},p={asked['p']}$c29tZXNhbHRzb21lc2FsdA$aGFzaGhhc2g"


TOO_MUCH = {
    "memory": asking(m=65537),
    "all memory there is": asking(m=4_294_967_295),
    "time": asking(t=17),
    "years": asking(t=4_294_967_295),
    "lanes": asking(p=17),
    "no hash": "password",
    "nothing": "",
}


@pytest.mark.parametrize("stored", TOO_MUCH.values(), ids=TOO_MUCH)
async def test_what_asks_for_too_much_fails_like_any_other(
    passwords: Passwords, stored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CredentialsInvalid):
        await passwords.check(PASSWORD, stored)
    assert "stored password hash" in capsys.readouterr().out


COMPOSED = unicodedata.normalize("NFC", "creme\N{COMBINING GRAVE ACCENT} bru\N{COMBINING CIRCUMFLEX ACCENT}le e")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_one_text_is_one_password_however_it_is_typed(passwords: Passwords, form: str) -> None:
    stored = await passwords.hash(unicodedata.normalize("NFD", COMPOSED))
    assert (await passwords.check(unicodedata.normalize(form, COMPOSED), stored)).rehashed is None  # type: ignore[arg-type]


async def test_what_was_hashed_as_it_was_typed_is_known_and_made_anew(passwords: Passwords) -> None:
    typed = unicodedata.normalize("NFD", COMPOSED)
    checked = await passwords.check(typed, CHEAP.hash(typed))
    assert checked.rehashed is not None
    assert (await passwords.check(COMPOSED, checked.rehashed)).rehashed is None


@pytest.mark.parametrize("password", ["short", "x" * 257, "x" * 1_000_000, "e\N{COMBINING ACUTE ACCENT}" * 11, ""])
async def test_lengths_are_refused(passwords: Passwords, password: str) -> None:
    with pytest.raises(InvalidFields):
        await passwords.hash(password)


async def test_a_full_queue_refuses_at_once() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> str:
        begun.set()
        assert go_on.wait(30)
        return "done"

    with HashingPool(1, 1, queue=1) as pool:
        held = [asyncio.ensure_future(pool.run(1, hold)) for _ in range(2)]
        await asyncio.to_thread(begun.wait, 30)
        with pytest.raises(Overloaded):
            await pool.run(1, hold)
        go_on.set()
        assert await asyncio.gather(*held) == ["done", "done"]
        assert await pool.run(1, lambda: "again") == "again"


async def test_what_nobody_waits_for_is_not_computed() -> None:
    begun, go_on, computed = threading.Event(), threading.Event(), list[str]()

    def hold() -> None:
        begun.set()
        assert go_on.wait(30)

    async def late(pool: HashingPool) -> None:
        set_budget(0.01)
        await pool.run(1, lambda: computed.append("late"))

    with HashingPool(1, 1, queue=3) as pool:
        held = asyncio.ensure_future(pool.run(1, hold))
        await asyncio.to_thread(begun.wait, 30)
        left = asyncio.ensure_future(pool.run(1, lambda: computed.append("left")))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(DeadlineExceeded):
            await asyncio.create_task(late(pool))
        go_on.set()
        await held
        await pool.run(1, lambda: computed.append("wanted"))
    assert computed == ["wanted"]


async def test_a_hash_keeps_its_place_though_its_caller_left() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go_on.wait(30)

    with HashingPool(1, 1, queue=0) as pool:
        left = asyncio.ensure_future(pool.run(1, hold))
        await asyncio.to_thread(begun.wait, 30)
        left.cancel()
        await asyncio.wait([left])
        with pytest.raises(Overloaded):
            await pool.run(1, hold)
        go_on.set()


async def test_large_hashes_take_turns() -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with lock:
            inside -= 1

    with HashingPool(4, 1, queue=20) as pool:
        assert pool.threads == 4
        await asyncio.gather(*(pool.run(2 * 1024, work) for _ in range(8)))
    assert most <= 2


async def test_hashes_have_lower_priority() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    with HashingPool(1, 1, queue=0) as pool:
        assert await pool.run(1, niceness) == max(before, NICENESS)
    assert niceness() == before
