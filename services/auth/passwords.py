"""Argon2id, off the event loop, in no more memory than it is given, and after everything else on the machine.

A password is compared in Unicode's NFC, as RFC 8265 has it: the same text typed on two keyboards is one password. What
was hashed before that, as it was typed, is still known, and hashed again at the next log-in.
"""

import asyncio
import os
import secrets
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, TypeVar

import argon2
import structlog
from argon2.exceptions import InvalidHashError, VerificationError

from services.runtime.deadlines import budget
from services.runtime.errors import CredentialsInvalid, DeadlineExceeded, InvalidFields, Overloaded

T = TypeVar("T")

MIN_LENGTH, MAX_LENGTH = 12, 256
MOST_TYPED = 4 * MAX_LENGTH
"""How much is looked at of what was typed; NFC makes it shorter."""
MOST_TIME, MOST_LANES = 16, 16
"""Of a stored hash, whose parameters whoever can write to the database chooses."""
NICENESS = 10
"""Threads of hashes, and the lanes that they start, leave the processors to whatever answers in microseconds."""

log = structlog.get_logger()


class Profile(StrEnum):
    """How dear a guess is: the least that OWASP's Password Storage Cheat Sheet accepts (19 MiB, t=2, one lane), and the
    options that RFC 9106, section 4, recommends second (64 MiB, t=3) and first (2 GiB, t=1)."""

    OWASP_MINIMUM = "owasp-minimum"
    RFC_9106_LOW_MEMORY = "rfc9106-low-memory"
    RFC_9106_HIGH_MEMORY = "rfc9106-high-memory"

    @property
    def parameters(self) -> argon2.Parameters:
        """As argon2 takes them."""
        return PARAMETERS[self]

    @property
    def megabytes(self) -> int:
        """What one hash takes."""
        return self.parameters.memory_cost // 1024


PARAMETERS = {
    Profile.OWASP_MINIMUM: argon2.Parameters(
        type=argon2.Type.ID, version=19, salt_len=16, hash_len=32, time_cost=2, memory_cost=19 * 1024, parallelism=1
    ),
    Profile.RFC_9106_LOW_MEMORY: argon2.profiles.RFC_9106_LOW_MEMORY,
    Profile.RFC_9106_HIGH_MEMORY: argon2.profiles.RFC_9106_HIGH_MEMORY,
}


class HashingPool:
    """Threads that share a bounded amount of memory, and a bounded queue in front of them."""

    def __init__(self, memory_mb: int, each_mb: int, queue: int) -> None:
        self.memory_kib = memory_mb * 1024
        self.threads = max(1, memory_mb // each_mb)
        self._executor = ThreadPoolExecutor(self.threads, "passwords", initializer=_step_back)
        self._room = _Room(self.memory_kib)
        self._most = self.threads + queue
        self._begun = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    async def run(self, kib: int, work: Callable[[], T]) -> T:
        """Do it once there is a thread and that much memory. What nobody waits for any more is not begun.

        Raises Overloaded at once when the queue is full, and DeadlineExceeded.
        """
        seconds, loop = budget(), asyncio.get_running_loop()
        if self._begun >= self._most:
            raise Overloaded
        future = self._executor.submit(self._room.filled, kib, work)
        self._begun += 1
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._ended, done))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise DeadlineExceeded from error

    def _ended(self, _: Future[T]) -> None:
        """A hash that has begun keeps its place after its caller left, as it keeps its memory."""
        self._begun -= 1


class _Room:
    """Memory that hashes of different sizes take turns to fill."""

    def __init__(self, kib: int) -> None:
        self._free = kib
        self._changed = threading.Condition()

    def filled(self, kib: int, work: Callable[[], T]) -> T:
        with self._taken(kib):
            return work()

    @contextmanager
    def _taken(self, kib: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= kib)
            self._free -= kib
        try:
            yield
        finally:
            with self._changed:
                self._free += kib
                self._changed.notify_all()


def _step_back() -> None:
    """On Linux each thread has a priority, which those that it starts inherit; elsewhere it is the process's."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


@dataclass(frozen=True, slots=True)
class Checked:
    """A password that was right."""

    rehashed: str | None
    """What to store instead, where the hash was made with other parameters or of another spelling."""


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, profile: Profile, pool: HashingPool) -> None:
        self._hasher = argon2.PasswordHasher.from_parameters(profile.parameters)
        self._kib = profile.parameters.memory_cost
        self._pool = pool
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str, field: str = "password") -> str:
        """The hash to store, in PHC format. Raises InvalidFields for a bad length, Overloaded and DeadlineExceeded."""
        normal = _normal(password)
        if not MIN_LENGTH <= len(normal) <= MAX_LENGTH:
            raise InvalidFields(**{field: f"must have {MIN_LENGTH} to {MAX_LENGTH} characters"})
        return await self._pool.run(self._kib, lambda: self._hasher.hash(normal))

    async def check(self, password: str, stored: str | None) -> Checked:
        """Raise CredentialsInvalid unless the password is that of the hash. No hash costs as much as a wrong one.

        Raises Overloaded and DeadlineExceeded.
        """
        acceptable = stored is not None and self._is_acceptable(stored)
        hashed = stored if stored is not None and acceptable else self._nobodys
        kib = max(self._kib, argon2.extract_parameters(hashed).memory_cost)
        checked = await self._pool.run(kib, lambda: self._checked(hashed, password))
        if checked is None or not acceptable:
            raise CredentialsInvalid
        return checked

    def _is_acceptable(self, stored: str) -> bool:
        """Whether to compute it at all: it might ask for all memory there is, or for hours."""
        try:
            asked = argon2.extract_parameters(stored)
        except InvalidHashError:
            log.error("a stored password hash is none")
            return False
        within = asked.memory_cost <= self._pool.memory_kib
        if within and asked.time_cost <= MOST_TIME and asked.parallelism <= MOST_LANES:
            return True
        log.error("a stored password hash asks for too much", **_told(asked))
        return False

    def _checked(self, stored: str, password: str) -> Checked | None:
        normal, typed = _normal(password), password[: MAX_LENGTH + 1]
        as_typed = not self._matches(stored, normal)
        if as_typed and (typed == normal or not self._matches(stored, typed)):
            return None
        outdated = as_typed or self._hasher.check_needs_rehash(stored)
        return Checked(self._hasher.hash(normal) if outdated else None)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False


def _normal(password: str) -> str:
    """At most one character more than is allowed, so that a megabyte costs no more than a password."""
    return unicodedata.normalize("NFC", password[:MOST_TYPED])[: MAX_LENGTH + 1]


def _told(asked: argon2.Parameters) -> dict[str, int]:
    return {"memory_kib": asked.memory_cost, "time": asked.time_cost, "lanes": asked.parallelism}
