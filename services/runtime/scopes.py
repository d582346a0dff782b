"""The one seam for what concerns every call: a concern is a context manager around it, asynchronous if it has to wait.

Handlers are wrapped once, when they are registered: an interceptor of grpc.aio costs more, and on every call.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.runtime.errors import DETAILS_KEY, CallerGone, DomainError, InvalidFields, TooLarge, status_details
from services.runtime.outcomes import Outcome, outcome_of

MAX_MESSAGE = 16 * 1024 * 1024
GONE_SECONDS = 0.002

Trailer = tuple[str, str | bytes]
Context = grpc.aio.ServicerContext[Any, Any]


class Call:
    """One RPC in progress: its method, its metadata and the trailers that go back with its end."""

    __slots__ = ("_outcome", "context", "metadata", "method", "seconds", "trailers")

    def __init__(self, method: str, context: Context) -> None:
        self.method = method
        self.context = context
        self.seconds: float | None = context.time_remaining()
        """From the call's begin to its deadline, if it has one."""
        self.metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
        self.trailers: list[Trailer] = []
        self._outcome: Outcome | None = None

    def ended(self, error: BaseException | None) -> Outcome:
        """How it ended. Whoever asks first, outside the errors scope, decides it for all."""
        if self._outcome is None:
            left = None if self.seconds is None else self.context.time_remaining()
            self._outcome = outcome_of(error, self.seconds, left)
        return self._outcome

    async def abort(self, error: DomainError) -> None:
        """End the call with the error: the only place where that is done."""
        trailers = (*self.trailers, (DETAILS_KEY, status_details(error)))
        await self.context.abort(error.code, str(error), trailers)


Scope = Callable[[Call], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]
"""A class, or a `partial` of one, so that it can be told which of the two it makes."""
Handle = Callable[[Any, Call], Awaitable[Any]]
Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]


def _answering_once(handler: Callable[[Any, Context], Awaitable[Any]], encode: Encode) -> Handle:
    async def handle(request: Any, call: Call) -> bytes:
        return encode(await handler(request, call.context))

    return handle


def _answering_by_stream(handler: Callable[[Any, Context], Any], encode: Encode) -> Handle:
    """Sends from inside the scopes: in a generator they would not learn that the caller left while it was sent to."""

    async def handle(request: Any, call: Call) -> None:
        async with aclosing(handler(request, call.context)) as responses:
            async for response in responses:
                await _send(call.context, encode(response))

    return handle


async def _send(context: Context, data: bytes) -> None:
    try:
        await context.write(data)
    except grpc.aio.BaseError as error:
        raise CallerGone from error


def _asked_once(handle: Handle, decode: Decode) -> Handle:
    async def handle_bytes(request: bytes, call: Call) -> Any:
        return await handle(decode(request), call)

    return handle_bytes


def _asked_by_stream(handle: Handle, decode: Decode) -> Handle:
    async def handle_bytes(requests: AsyncIterator[bytes], call: Call) -> Any:
        return await handle(_each(requests, decode), call)

    return handle_bytes


async def _each(requests: AsyncIterator[bytes], decode: Decode) -> AsyncIterator[Any]:
    async for request in requests:
        yield decode(request)
    # The requests of a caller that is gone end as those of one that is ready; the cancellation comes a moment later.
    await asyncio.sleep(GONE_SECONDS)


def _scoped(inner: Handle, scope: Any) -> Handle:
    async def handle(request: Any, call: Call) -> Any:
        with scope(call):
            return await inner(request, call)

    async def handle_waiting(request: Any, call: Call) -> Any:
        async with scope(call):
            return await inner(request, call)

    made = scope.func if isinstance(scope, partial) else scope
    return handle if hasattr(made, "__enter__") else handle_waiting


def _outermost(scoped: Handle, method: str) -> Callable[[Any, Context], Awaitable[Any]]:
    async def outermost(request: Any, context: Context) -> Any:
        call = Call(method, context)
        try:
            response = await scoped(request, call)
        except DomainError as error:
            await call.abort(error)
        context.set_trailing_metadata(tuple(call.trailers))
        return response

    return outermost


SHAPES = {
    "unary_unary": (_asked_once, _answering_once),
    "stream_unary": (_asked_by_stream, _answering_once),
    "unary_stream": (_asked_once, _answering_by_stream),
    "stream_stream": (_asked_by_stream, _answering_by_stream),
}


def scoped_handler(handler: Any, method: str, scopes: Sequence[Scope]) -> Any:
    """The handler with each scope around it, the first outermost. Streaming handlers must be async generators.

    Messages are decoded and encoded inside the scopes, too: what is wrong with one is seen there as anything else.
    """
    shape = next(name for name in SHAPES if getattr(handler, name))
    asked, answering = SHAPES[shape]
    encode, decode = _encoder(handler.response_serializer), _decoder(handler.request_deserializer)
    scoped = asked(answering(getattr(handler, shape), encode), decode)
    for scope in reversed(scopes):
        scoped = _scoped(scoped, scope)
    wrapped = {shape: _outermost(scoped, method)}
    return handler._replace(request_deserializer=None, response_serializer=None, **wrapped)


def _decoder(deserializer: Decode | None) -> Decode:
    def decode(data: bytes) -> Any:
        try:
            return deserializer(data) if deserializer else data
        except DecodeError as error:
            raise InvalidFields(request="is not the message that this method takes") from error

    return decode


def _encoder(serializer: Encode | None) -> Encode:
    def encode(response: Any) -> bytes:
        data = serializer(response) if serializer else bytes(response)
        if len(data) > MAX_MESSAGE:  # gRPC itself would refuse it behind our back
            raise TooLarge(f"the answer has {len(data):,} bytes, at most {MAX_MESSAGE:,} can be sent")
        return data

    return encode


class ScopedServer:
    """Stands in for a server while generated code registers a servicer, so that its handlers arrive wrapped."""

    def __init__(self, server: grpc.aio.Server, scopes: Callable[[str], Sequence[Scope]]) -> None:
        self._server = server
        self._scopes = scopes
        self.services: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Generated code registers every method twice; the second way, below, is the one that is used."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        methods = {name: f"/{service}/{name}" for name in handlers}
        wrapped = {
            name: scoped_handler(handlers[name], method, self._scopes(method)) for name, method in methods.items()
        }
        self._server.add_registered_method_handlers(service, wrapped)
        self.services.append(service)
