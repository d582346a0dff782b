"""`GET /.well-known/jwks.json`: the public keys that tokens are verified with, for verifiers that are not ours."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.errors import RemoteError, error_of
from neurectomy.auth.v1 import auth_pb2
from services.runtime.errors import DeadlineExceeded

if TYPE_CHECKING:
    from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub

FRESH_SECONDS = 5.0
ANSWER_SECONDS = 2.0
STALE_SECONDS = 600.0
"""How old an answer may be while auth is away: as long as a token lives."""
HEADERS = {"cache-control": "public, max-age=60", "content-type": "application/jwk-set+json"}
"""A new key is published for longer than that before it signs."""


class KeySetPage:
    """Asks auth every few seconds at most, however many ask here."""

    def __init__(self, auth: "AuthServiceAsyncStub", clock: Callable[[], float] = time.monotonic) -> None:
        self._auth = auth
        self._clock = clock
        self._json = ""
        self._asked = float("-inf")
        self._asking = asyncio.Lock()

    async def answer(self, _: Request) -> Response:
        """The key set; 503 where auth is away and was for long."""
        try:
            return Response(await self.json(), headers=HEADERS)
        except (RemoteError, DeadlineExceeded) as error:
            body = {"errors": [error_of(error)]}
            return JSONResponse(body, status_code=503, headers={"retry-after": "1", "cache-control": "no-store"})

    async def json(self) -> str:
        """RFC 7517 JSON. Raises RemoteError and DeadlineExceeded."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._asking:
                await self._ask()
        except (RemoteError, TimeoutError) as error:
            if self._clock() - self._asked > STALE_SECONDS:
                raise (DeadlineExceeded() if isinstance(error, TimeoutError) else error) from error
        return self._json

    async def _ask(self) -> None:
        if self._clock() - self._asked < FRESH_SECONDS:
            return
        answer = await self._auth.GetKeySet(auth_pb2.GetKeySetRequest())
        self._json, self._asked = answer.json, self._clock()
