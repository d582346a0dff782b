"""As whom a request's calls are made: with the caller's own token, or, where the installation says so, anonymously."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from neurectomy.auth.v1 import auth_pb2
from services.runtime.caller import Principal, bearer, current_token
from services.runtime.errors import TokenInvalid
from services.runtime.verifier import Verifier

if TYPE_CHECKING:
    from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub

RENEW_SECONDS = 60.0
"""How long before its end a token is replaced."""
KEPT_SECONDS = 10.0
"""How long it is kept at most: the key that it was signed with may be revoked."""


class Anonymous:
    """The token for callers who have none: read-only, from auth, and renewed in time."""

    def __init__(self, auth: "AuthServiceAsyncStub", clock: Callable[[], float] = time.time) -> None:
        self._auth = auth
        self._clock = clock
        self._token: str | None = None
        self._renew = float("-inf")
        self._renewing = asyncio.Lock()

    async def token(self) -> str | None:
        """A token that is good for a minute more, unless auth gives shorter ones."""
        if self._clock() < self._renew:
            return self._token
        async with self._renewing:
            if self._clock() >= self._renew:
                answer = await self._auth.CreateAnonymousToken(auth_pb2.CreateAnonymousTokenRequest())
                self._token = answer.access_token.token
                self._renew = min(answer.access_token.expire_time.seconds - RENEW_SECONDS, self._clock() + KEPT_SECONDS)
        return self._token

    async def or_callers(self) -> str | None:
        """The caller's own token where there is one."""
        return current_token() or await self.token()


async def verified(verifier: Verifier, token: str) -> Principal:
    """Whom the token stands for now; nearly free for one that was verified lately. Raises as Verifier.verify."""
    return verifier.known(token) or await verifier.verify(token)


def token_of(authorization: bytes | None) -> str | None:
    """The bearer token of a header, if there is one. Raises TokenInvalid for what no metadata could carry."""
    if authorization is None:
        return None
    token = bearer(authorization.decode("latin-1"))
    if not (token.isascii() and token.isprintable()):
        raise TokenInvalid
    return token
