"""Stands in for helper `login`'s limits on attempts, with the same interface, until they are merged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.auth.origin import Origin


class Attempts:
    """Counts nothing."""

    @asynccontextmanager
    async def attempt(self, _account: str, _origin: Origin) -> AsyncIterator[None]:
        """An attempt on a secret is made inside. Raises TooManyAttempts."""
        yield

    async def deed(self, kind: str, origin: Origin) -> None:
        """Count what an address does without a secret of an account. Raises TooManyAttempts."""
