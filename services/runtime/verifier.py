"""The one door for tokens and API keys: what is verified is remembered, and what is revoked is not."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.runtime.background import detached
from services.runtime.caller import Principal
from services.runtime.errors import DomainError, TokenInvalid
from services.runtime.metrics import cache_hits, cache_misses, tokens_refused
from services.runtime.verification import Clock, PublicKeys, take_apart, verified
from services.runtime.verified import Verified, marks

API_KEY_PREFIX = "nrctmy_"
CACHE_SECONDS = 30.0
"""How long a verified token is believed at most: the longest that a revocation takes when nobody can tell of it."""
KEY_REFRESH_SECONDS = 1.0
KEY_AGE_SECONDS = 30.0
"""After which the keys are asked for again beside the work, so that a withdrawn one does not live on here."""

FetchKeys = Callable[[], Awaitable[PublicKeys]]
Check = Callable[[str, Principal], Awaitable[float]]
"""(token, its principal) -> for how many seconds that is to be believed. Raises TokenRevoked and ServiceUnavailable."""
AskApiKey = Callable[[str], Awaitable[Principal]]


class Keys:
    """The public keys of auth, asked for when an unknown one is met, and once in a while."""

    def __init__(self, fetch: FetchKeys, withdrawn: Callable[[], None], clock: Clock) -> None:
        self._fetch = fetch
        self._withdrawn = withdrawn
        self._clock = clock
        self._known: PublicKeys = {}
        self._fetched = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._revoked: set[str] = set()

    async def key(self, key_id: str) -> Ed25519PublicKey:
        """The key of that id. Raises TokenInvalid, and what fetching raises."""
        age = self._clock() - self._fetched
        if key_id not in self._known and age > KEY_REFRESH_SECONDS:
            await asyncio.shield(self._refreshed())
        elif age > KEY_AGE_SECONDS:
            self._refreshed()
        if key_id not in self._known or key_id in self._revoked:
            raise TokenInvalid
        return self._known[key_id]

    def revoke(self, key_id: str) -> None:
        """Take it from nobody any more, whatever a replica of auth may still publish."""
        self._revoked.add(key_id)

    def doubt(self) -> None:
        """Ask again at the next token, for something may have been missed."""
        self._fetched = min(self._fetched, self._clock() - KEY_AGE_SECONDS - 1)

    def _refreshed(self) -> "asyncio.Task[None]":
        """One for all who wait: not theirs to cancel."""
        if self._fetching is None or self._fetching.done():
            self._fetching = detached(self._refresh())
            self._fetching.add_done_callback(_seen)
        return self._fetching

    async def _refresh(self) -> None:
        found = await self._fetch()
        withdrawn = self._known.keys() - found.keys()
        self._known, self._fetched = found, self._clock()
        if withdrawn:
            self._withdrawn()


def _seen(task: "asyncio.Task[None]") -> None:
    """Nobody may be waiting for a failure; whoever is, gets it all the same."""
    if not task.cancelled():
        task.exception()


class Verifier:
    """Verifies access tokens by signature and then by `check`, and API keys by asking auth."""

    def __init__(
        self,
        keys: FetchKeys,
        check: Check,
        api_key: AskApiKey,
        clock: Clock = time.time,
    ) -> None:
        self.remembered = Verified(clock)
        self.known = self.remembered.get
        """The principal of what was verified lately, without waiting; no method, which is a call more."""
        self._keys = Keys(keys, self.remembered.clear, clock)
        self._check = check
        self._api_key = api_key
        self._clock = clock

    async def verify(self, token: str) -> Principal:
        """Whom a token or API key stands for. Raises TokenInvalid, TokenExpired, TokenRevoked, ServiceUnavailable."""
        try:
            return self.known(token) or await self._first(token)
        except DomainError as error:
            tokens_refused.labels(error.reason).inc()
            raise

    async def prove(self, token: str) -> Principal:
        """The same, whatever is remembered."""
        return (await self._proven(token))[0]

    def forget(self, name: str) -> None:
        """Something is revoked, by its name as revocations.py has it."""
        kind, _, key = name.partition(":")
        if kind == "signing_key":
            self._keys.revoke(key)
            self.remembered.clear()
        else:
            self.remembered.forget(name)

    def forget_all(self) -> None:
        """Anything may have been revoked."""
        self._keys.doubt()
        self.remembered.clear()

    async def _first(self, token: str) -> Principal:
        self._count()
        forgotten, now = self.remembered.forgotten, self._clock()
        principal, seconds = await self._proven(token)
        if self.remembered.forgotten == forgotten:
            self.remembered.keep(token, principal, min(now + seconds, principal.expires))
        return principal

    async def _proven(self, token: str) -> tuple[Principal, float]:
        if token.startswith(API_KEY_PREFIX):
            return await self._api_key(token), CACHE_SECONDS
        signed = take_apart(token)
        principal = verified(signed, await self._keys.key(signed.key_id), self._clock)
        return principal, await self._check(token, principal) if marks(principal) else CACHE_SECONDS

    def _count(self) -> None:
        """Hits are only counted here: the library's counter costs more than a hit."""
        cache_misses.labels("tokens").inc()
        cache_hits.labels("tokens").inc(self.remembered.hits)
        self.remembered.hits = 0
