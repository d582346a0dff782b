"""Client channels to our own services: every call carries the caller's token, the deadline and the trace, and brings
its spans home. Stubs made on such a channel are wrapped once, when they are made."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, cast
from uuid import UUID

import grpc

from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.runtime.caller import Principal, current_token
from services.runtime.deadlines import budget, time_left
from services.runtime.errors import (
    DomainError,
    ServiceUnavailable,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    from_rpc,
    reason_of,
)
from services.runtime.following import following
from services.runtime.loop_lag import loop_lag
from services.runtime.scopes import MAX_MESSAGE
from services.runtime.span_wire import ASK_KEY, BLOB_KEY, Kind, span_id
from services.runtime.telemetry import OpenSpan
from services.runtime.tls import Tls
from services.runtime.trace_context import traceparent
from services.runtime.verification import PublicKeys, parse_key_set

UNARY_SECONDS = 30.0
"""How long a call without a deadline of its own may take."""
VERIFY_SECONDS = 5.0
RENEW_SECONDS = 60.0
KEPT_SECONDS = 10.0
"""How long a token is kept at most: the key that it was signed with may be revoked, and then work must go on."""
_ASKED = (ASK_KEY, "1")
_CLIENT = int(Kind.CLIENT)

Token = Callable[[], Awaitable[str | None]]
Pairs = tuple[tuple[str, str], ...]
Beside = Callable[[], Awaitable[Pairs]]
"""What else a call says."""


async def callers_token() -> str | None:
    """The token of whoever called us."""
    return current_token()


def _service_config() -> str:
    """Spread over all addresses; a call that never reached a server is safe to repeat, and gRPC does so by itself."""
    return json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


OPTIONS = [
    ("grpc.service_config", _service_config()),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # despite its name, how long connecting may take: more on a busy machine
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
]


@asynccontextmanager
async def connect(target: str, token: Token, tls: Tls | None) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to `target` whose calls carry the given token, in plaintext only where there is no `tls`."""
    async with opened(target, tls) as channel:
        yield traced(channel, token)


def opened(target: str, tls: Tls | None) -> AbstractAsyncContextManager[grpc.aio.Channel]:
    """A channel to `target` as it is, for calls that carry nothing."""
    if tls is None:
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    return following(target, tls, OPTIONS)


def traced(channel: grpc.aio.Channel, token: Token, beside: Beside | None = None) -> grpc.aio.Channel:
    """The channel as stubs should see it: calls carry the token, the deadline and the trace.

    Those that are answered once carry what is `beside`, too.
    """
    return cast(grpc.aio.Channel, _TracedChannel(channel, token, beside))


class _TracedChannel:
    """What generated stubs need of a channel."""

    def __init__(self, channel: grpc.aio.Channel, token: Token, beside: Beside | None) -> None:
        self._channel = channel
        self._token = token
        self._beside = beside

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return _answered_once(self._channel.unary_unary(method, *args, **options), method, self._token, self._beside)

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return _answered_once(self._channel.stream_unary(method, *args, **options), method, self._token, self._beside)

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return _answered_by_stream(self._channel.unary_stream(method, *args, **options), method, self._token)

    def stream_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return _answered_by_stream(self._channel.stream_stream(method, *args, **options), method, self._token)


def _answered_once(inner: Any, method: str, token: Token, beside: Beside | None) -> Any:
    async def call(request: Any, *, timeout: float = UNARY_SECONDS) -> Any:
        span = OpenSpan(_CLIENT, method)
        error: BaseException | None = None
        try:
            pairs = await beside() if beside else ()
            rpc = inner(request, timeout=time_left(timeout), metadata=_metadata(span, await token(), pairs))
            response = await rpc
            if span.recording is not None:
                span.child = _blob(await rpc.trailing_metadata())
            return response
        except BaseException as caught:
            error = caught
            raise
        finally:
            _end(span, error)

    return call


def _answered_by_stream(inner: Any, method: str, token: Token) -> Any:
    async def start(span: OpenSpan, request: Any, timeout: float | None) -> Any:
        limit = budget() if timeout is None else time_left(timeout)
        return inner(request, timeout=limit, metadata=_metadata(span, await token()))

    def call(request: Any, *, timeout: float | None = None) -> "_Responses":
        return _Responses(method, partial(start, request=request, timeout=timeout))

    return call


class _Responses:
    """The responses of a call that begins when the first is asked for. Whoever drops it, or closes it, ends the call.

    No async generator: such a one ends some time after its consumer has left, and in another context.
    """

    def __init__(self, method: str, start: Callable[[OpenSpan], Awaitable[Any]]) -> None:
        self._method = method
        self._start = start
        self._rpc: Any = None
        self._span: OpenSpan | None = None
        self._ended = False

    def __aiter__(self) -> "_Responses":
        return self

    async def __anext__(self) -> Any:
        if self._ended:
            raise StopAsyncIteration
        try:
            response = await self._read()
        except BaseException as error:
            self._end(error)
            raise
        if response is grpc.aio.EOF:
            self._end(None)
            raise StopAsyncIteration
        return response

    async def _read(self) -> Any:
        if self._span is None:
            self._span = OpenSpan(_CLIENT, self._method)
            self._rpc = await self._start(self._span)
        response = await self._rpc.read()
        if response is grpc.aio.EOF and self._span.recording is not None:
            self._span.child = _blob(await self._rpc.trailing_metadata())
        return response

    def _end(self, error: BaseException | None) -> None:
        if self._ended:
            return
        self._ended = True
        if self._rpc is not None:
            self._rpc.cancel()
        if self._span is not None:
            _end(self._span, error)

    async def aclose(self) -> None:
        """Want no more."""
        self._end(GeneratorExit())

    def __del__(self) -> None:
        self._end(GeneratorExit())


class _Sent(grpc.aio.Metadata):
    """Pairs that are only sent: gRPC's own class sorts them into a dictionary of lists first, on each call."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


def _metadata(span: OpenSpan, token: str | None, beside: Pairs = ()) -> _Sent:
    """What is sent along: who asks, which trace it is, and that the spans are wanted back."""
    said = (("authorization", f"Bearer {token}"), *beside) if token else beside
    trace = span.trace
    if trace is None:
        return _Sent(said)
    if span.recording is None:
        return _Sent((*said, ("traceparent", traceparent(trace, trace.parent_id or 1)), *trace.carried))
    own = traceparent(trace, span_id(span.recording.base, span.index))
    return _Sent((*said, ("traceparent", own), _ASKED, *trace.carried))


def _end(span: OpenSpan, error: BaseException | None) -> None:
    if isinstance(error, grpc.aio.AioRpcError):
        span.child = _blob(error.trailing_metadata())
    if span.recording is not None:
        span.lag = loop_lag.now()
    span.end(error)


def _blob(trailers: Any) -> bytes | None:
    return None if trailers is None else trailers.get(BLOB_KEY)


class KeySet:
    """The public keys of the auth service, asked for whenever a verifier needs them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._auth = AuthServiceStub(channel)

    async def fetch(self) -> PublicKeys:
        """The keys that are live now. Raises ServiceUnavailable."""
        try:
            answer = await self._auth.GetKeySet(auth_pb2.GetKeySetRequest())
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, "auth") from error
        return parse_key_set(answer.json)


REFUSALS = {kind.reason: kind for kind in (TokenInvalid, TokenExpired, TokenRevoked)}


class Tokens:
    """Asks the auth service whom an API key or a token stands for, which looks at its database."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._auth = AuthServiceStub(channel)

    async def principal(self, token: str) -> Principal:
        """Raises TokenInvalid, TokenExpired, TokenRevoked and ServiceUnavailable."""
        try:
            answer = await self._auth.VerifyToken(auth_pb2.VerifyTokenRequest(token=token), timeout=VERIFY_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error
        return _principal(answer.principal)


def _refusal(error: grpc.aio.AioRpcError) -> DomainError:
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return REFUSALS.get(reason_of(error), TokenInvalid)()
    late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    return ServiceUnavailable("auth") if late else from_rpc(error, "auth")


def _principal(message: auth_pb2.Principal) -> Principal:
    return Principal(
        subject=message.subject,
        subject_type=auth_pb2.SubjectType.Name(message.subject_type).removeprefix("SUBJECT_TYPE_").lower(),
        organization_id=UUID(message.organization_id) if message.organization_id else None,
        permissions=frozenset(message.permissions),
        session_id=message.session_id,
        expires=float(message.expire_time.seconds),
    )


class ServiceIdentity:
    """A service's own token, for work that no caller asked for; renewed each minute, and a minute before its end."""

    def __init__(self, channel: grpc.aio.Channel, service: str, secret: str) -> None:
        self._auth = AuthServiceStub(channel)
        self._request = auth_pb2.CreateServiceTokenRequest(service=service, secret=secret)
        self._token: str | None = None
        self._renew = 0.0
        self._renewing = asyncio.Lock()

    async def token(self) -> str | None:
        """A token that is good for at least a minute more."""
        async with self._renewing:
            if time.time() >= self._renew:
                answer = await self._auth.CreateServiceToken(self._request)
                self._token = answer.access_token.token
                self._renew = min(answer.access_token.expire_time.seconds - RENEW_SECONDS, time.time() + KEPT_SECONDS)
        return self._token


async def no_token() -> str | None:
    """For calls that are open to anyone."""
    return None
