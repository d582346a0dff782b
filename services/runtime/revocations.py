"""What is taken back before its time, as auth tells it by Redis and every verifier hears it.

    auth:revoked:session:<sid>                     a session that has ended
    auth:revoked:member:<organization>/<user>      the version that a membership has now; tokens below it are revoked
    auth:revoked:complete                          is there as long as all of the above is
    auth:revocations                               where each is told once, as are keys that are withdrawn

The first two are sorted sets of one member, whose score can only rise: several replicas of auth write them, in any
order. Needs Redis 7. Redis is only believed while its messages are heard; else auth is asked, which asks PostgreSQL.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.runtime.background import in_background
from services.runtime.caller import Principal
from services.runtime.errors import StoreUnavailable, TokenRevoked
from services.runtime.verified import marks
from services.runtime.verifier import CACHE_SECONDS, Verifier

CHANNEL = "auth:revocations"
EVERYTHING = "everything"
"""What is said on the channel when Redis may have lost some: forget whom you know."""
COMPLETE = "auth:revoked:complete"
COMPLETE_SECONDS = 20.0
"""How long Redis is believed after auth was last there to tell it."""
MEMBER = "version"
ANSWER_SECONDS = 0.5
SILENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.5

UNHEARD = (StoreUnavailable, RedisError, OSError)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Revocation:
    """`session`: tokens with that `sid`. `member`, key `ORGANIZATION/USER`: tokens with a `ver` below `version`.
    `api_key`: what is remembered of that key. `signing_key`: tokens with that `kid`."""

    kind: str
    key: str
    organization_id: UUID
    version: int = 0

    @property
    def name(self) -> str:
        """As it is told on the channel."""
        return f"{self.kind}:{self.key}"


def key_of(name: str) -> str:
    """Where Redis keeps what is revoked."""
    return f"auth:revoked:{name}"


class Silence(Exception):
    """Redis does not answer on a connection that is open."""


class Hearing:
    """Hears of revocations, and says whether Redis knows one that concerns a token."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._heard = False

    def running(self, verifier: Verifier) -> AbstractAsyncContextManager[None]:
        """Listen in the background, and let the verifier forget."""
        return in_background(self._run(verifier))

    async def seconds(self, principal: Principal) -> float | None:
        """For how long a principal is not revoked for certain; None where Redis cannot say. Raises TokenRevoked."""
        if not self._heard:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                *versions, left = await self._read(marks(principal))
        except (*UNHEARD, TimeoutError):
            return None
        ended, version = versions
        if ended is not None or (version is not None and version > principal.version):
            raise TokenRevoked
        age = COMPLETE_SECONDS - left / 1_000
        return CACHE_SECONDS - age if left > 0 else None

    async def _read(self, names: tuple[str, ...]) -> list[Any]:
        """In one transaction: what is not there must have been missing while all the rest was complete."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            for name in names:
                pipeline.zscore(key_of(name), MEMBER)
            pipeline.pttl(COMPLETE)
            return await pipeline.execute()

    async def _run(self, verifier: Verifier) -> None:
        while True:
            try:
                await self._listen(verifier)
            except (*UNHEARD, Silence) as error:
                log.warning("revocations are not heard", error=repr(error), again_in=PAUSE_SECONDS)
            finally:
                self._heard = False
            await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self, verifier: Verifier) -> None:
        """Whoever says nothing is asked for a sign of life, and left if there is none."""
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            asked = False
            while True:
                message = await pubsub.get_message(timeout=SILENCE_SECONDS)
                if message is not None:
                    asked = False
                    self._take(message, verifier)
                elif asked:
                    raise Silence
                else:
                    asked = True
                    await pubsub.ping()

    def _take(self, message: dict[str, Any], verifier: Verifier) -> None:
        """A new subscription follows upon a time in which messages may have been missed."""
        data = message["data"]
        if message["type"] == "subscribe" or data == EVERYTHING.encode():
            self._heard = True
            verifier.forget_all()
        elif message["type"] == "message":
            verifier.forget(data.decode(errors="replace"))


class Checked:
    """Redis first, then auth."""

    def __init__(self, hearing: Hearing | None, ask_auth: Callable[[str], Awaitable[Principal]]) -> None:
        self._hearing = hearing
        self._ask_auth = ask_auth

    async def check(self, token: str, principal: Principal) -> float:
        """A Verifier's Check."""
        seconds = await self._hearing.seconds(principal) if self._hearing else None
        if seconds is None:
            await self._ask_auth(token)
            return CACHE_SECONDS
        return seconds
