"""Argon2id, off the event loop and never more at once than the pool has threads."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from services.runtime.errors import CredentialsInvalid, InvalidFields

T = TypeVar("T")

MIN_LENGTH, MAX_LENGTH = 12, 256


class Profile(StrEnum):
    """How dear a guess is: the options that RFC 9106, section 4, recommends second (64 MiB, t=3) and first (2 GiB)."""

    RFC_9106_LOW_MEMORY = "rfc9106-low-memory"
    RFC_9106_HIGH_MEMORY = "rfc9106-high-memory"


PARAMETERS = {
    Profile.RFC_9106_LOW_MEMORY: argon2.profiles.RFC_9106_LOW_MEMORY,
    Profile.RFC_9106_HIGH_MEMORY: argon2.profiles.RFC_9106_HIGH_MEMORY,
}


class Passwords:
    """Hashes and verifies passwords in its own threads."""

    def __init__(self, profile: Profile, pool: ThreadPoolExecutor) -> None:
        self._hasher = argon2.PasswordHasher.from_parameters(PARAMETERS[profile])
        self._pool = pool
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """The hash to store, in PHC string format. Raises InvalidFields for a bad length."""
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise InvalidFields(password=f"must have {MIN_LENGTH} to {MAX_LENGTH} characters")
        return await self._run(self._hasher.hash, password)

    async def check(self, password: str, stored: str | None) -> None:
        """Raise CredentialsInvalid unless the password is that of the hash. No hash takes as long as a wrong one."""
        known = await self._run(self._matches, stored or self._nobodys, password[: MAX_LENGTH + 1])
        if not known or stored is None:
            raise CredentialsInvalid

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, function: Callable[..., T], *values: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *values)
