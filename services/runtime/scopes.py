"""The one seam for what concerns every call: a concern is an async context manager around it.

Handlers are wrapped once, when they are registered: an interceptor of grpc.aio costs more, and on every call.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc

from services.runtime.errors import DETAILS_KEY, DomainError, status_details

Trailer = tuple[str, str | bytes]
Context = grpc.aio.ServicerContext[Any, Any]


class Call:
    """One RPC in progress: its method, its metadata and the trailers that go back with its end."""

    __slots__ = ("context", "metadata", "method", "trailers")

    def __init__(self, method: str, context: Context) -> None:
        self.method = method
        self.context = context
        self.metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
        self.trailers: list[Trailer] = []

    async def abort(self, error: DomainError) -> None:
        """End the call with the error: the only place where that is done."""
        trailers = (*self.trailers, (DETAILS_KEY, status_details(error)))
        await self.context.abort(error.code, str(error), trailers)


Scope = Callable[[Call], AbstractAsyncContextManager[Any]]
Unary = Callable[[Any, Call], Awaitable[Any]]
Stream = Callable[[Any, Call], AsyncIterator[Any]]


def _scoped_unary(inner: Unary, scope: Scope) -> Unary:
    async def handle(request: Any, call: Call) -> Any:
        async with scope(call):
            return await inner(request, call)

    return handle


def _scoped_stream(inner: Stream, scope: Scope) -> Stream:
    async def handle(request: Any, call: Call) -> AsyncIterator[Any]:
        async with scope(call):
            async for response in inner(request, call):
                yield response

    return handle


def _unary(handler: Callable[[Any, Context], Awaitable[Any]], method: str, scopes: Sequence[Scope]) -> Any:
    async def innermost(request: Any, call: Call) -> Any:
        return await handler(request, call.context)

    scoped: Unary = innermost
    for scope in reversed(scopes):
        scoped = _scoped_unary(scoped, scope)

    async def outermost(request: Any, context: Context) -> Any:
        call = Call(method, context)
        try:
            response = await scoped(request, call)
        except DomainError as error:
            await call.abort(error)
        context.set_trailing_metadata(tuple(call.trailers))
        return response

    return outermost


def _stream(handler: Callable[[Any, Context], AsyncIterator[Any]], method: str, scopes: Sequence[Scope]) -> Any:
    def innermost(request: Any, call: Call) -> AsyncIterator[Any]:
        return handler(request, call.context)

    scoped: Stream = innermost
    for scope in reversed(scopes):
        scoped = _scoped_stream(scoped, scope)

    async def outermost(request: Any, context: Context) -> AsyncIterator[Any]:
        call = Call(method, context)
        try:
            async for response in scoped(request, call):
                yield response
        except DomainError as error:
            await call.abort(error)
        context.set_trailing_metadata(tuple(call.trailers))

    return outermost


SHAPES = (("unary_unary", _unary), ("stream_unary", _unary), ("unary_stream", _stream), ("stream_stream", _stream))


def scoped_handler(handler: Any, method: str, scopes: Sequence[Scope]) -> Any:
    """The handler with each scope around it, the first outermost. Streaming handlers must be async generators."""
    for shape, wrap in SHAPES:
        if inner := getattr(handler, shape):
            return handler._replace(**{shape: wrap(inner, method, scopes)})
    return handler


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
