"""GraphQL over WebSocket: the protocol graphql-transport-ws, with its close codes.

Messages of one socket are handled side by side: an operation is a task of its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import OperationType
from prometheus_client import Gauge

from gateway.clients import act_for
from gateway.errors import RemoteError, RequestError, error_of
from gateway.execution import BadRequest, Parameters, Prepared, Refused
from gateway.identity import Anonymous, token_of, verified
from gateway.operations import Operations, Running
from services.runtime.caller import Principal
from services.runtime.errors import DomainError, TokenExpired, TokenInvalid, TokenRevoked
from services.runtime.verifier import Verifier

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
TraceHeaders = tuple[str, str, str]

PROTOCOL = "graphql-transport-ws"
GOING_AWAY = 1001
TRY_AGAIN_LATER = 1013
BAD_MESSAGE = 4400
UNAUTHORIZED = 4401
FORBIDDEN = 4403
WRONG_PROTOCOL = 4406
INIT_TIMEOUT = 4408
ID_TAKEN = 4409
INIT_TWICE = 4429

REFUSED = (TokenInvalid, TokenExpired, TokenRevoked)

connections = Gauge("websocket_connections", "Open WebSockets.")


class Close(Exception):
    """The socket is to be closed. Clients give up on 4400, 4401, 4406, 4409 and 4429, and come back after others."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Gone(Exception):
    """The client cannot be reached any more."""


class TooManyOperations(RequestError):
    """One socket runs as many operations as it may."""

    code = "LIMIT_EXCEEDED"
    reason = "SOCKET_OPERATIONS"


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in, and how they must behave."""

    verifier: Verifier
    anonymous: Anonymous | None
    init_seconds: float
    max_operations: int


class WebSocketTransport:
    """The ASGI application behind WebSockets at /graphql."""

    def __init__(self, operations: Operations, door: Door) -> None:
        self._operations = operations
        self._door = door
        self._sockets: set[_Socket] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = _Socket(self._operations, self._door, scope, receive, send)
        self._sockets.add(socket)
        try:
            with connections.track_inprogress():
                await socket.run()
        finally:
            self._sockets.discard(socket)

    async def close(self) -> None:
        """Send everyone away, to come back to another instance."""
        await asyncio.gather(*(socket.go_away() for socket in list(self._sockets)))


class _Socket:
    """One connection."""

    def __init__(self, operations: Operations, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        self._operations = operations
        self._door = door
        self._scope = scope
        self._receive = receive
        self._send_raw = send
        self._initiated = False
        self._principal: Principal | None = None
        self._token: str | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._end_with = Close(GOING_AWAY, "the server is going away")

    async def run(self) -> None:
        """Until the client leaves or has to."""
        await self._receive()
        if PROTOCOL not in self._scope["subprotocols"]:
            await self._send_raw({"type": "websocket.accept"})
            await self._close(WRONG_PROTOCOL, f"the subprotocol is {PROTOCOL}")
            return
        await self._send_raw({"type": "websocket.accept", "subprotocol": PROTOCOL})
        self._reader = asyncio.current_task()
        try:
            await self._read()
        except Close as close:
            await self._close(close.code, str(close))
        except asyncio.CancelledError:
            await self._close(self._end_with.code, str(self._end_with))
        except Gone:
            pass
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def go_away(self) -> None:
        """End the connection from our side, and return when that is done."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    async def _read(self) -> None:
        """Take messages as long as the client has the right to be here."""
        try:
            async with asyncio.timeout(self._door.init_seconds) as until:
                while (message := await self._receive())["type"] == "websocket.receive":
                    await self._handle(_decoded(message), until)
        except TimeoutError:
            if self._principal is None:
                raise Close(INIT_TIMEOUT, "connection initialisation timeout") from None
            raise Close(FORBIDDEN, "the token has expired") from None

    async def _handle(self, message: dict[str, Any], until: asyncio.Timeout) -> None:
        match message:
            case {"type": "connection_init"}:
                await self._initiate(message.get("payload"), until)
            case {"type": "ping"}:
                await self._send({**message, "type": "pong"})
            case {"type": "pong"}:
                pass
            case {"type": "subscribe", "id": str(operation_id), "payload": payload} if operation_id:
                self._subscribe(operation_id, payload)
            case {"type": "complete", "id": str(operation_id)}:
                if task := self._tasks.pop(operation_id, None):
                    task.cancel()
            case _:
                raise Close(BAD_MESSAGE, "invalid message")

    async def _initiate(self, payload: Any, until: asyncio.Timeout) -> None:
        if self._initiated:
            raise Close(INIT_TWICE, "too many initialisation requests")
        self._initiated = True
        self._principal = await self._identify(_authorization(payload, self._scope))
        until.reschedule(self._end())
        await self._send({"type": "connection_ack"})

    async def _identify(self, authorization: bytes | None) -> Principal:
        """Whom the socket's operations are made for."""
        anonymous = self._door.anonymous
        try:
            self._token = token_of(authorization)
            token = self._token or (await anonymous.token() if anonymous else None)
            if token is None:
                raise Close(UNAUTHORIZED, "connection_init needs an Authorization")
            return await self._door.verifier.verify(token)
        except REFUSED as error:
            raise Close(FORBIDDEN, str(error)) from error
        except (RemoteError, DomainError) as error:
            raise Close(TRY_AGAIN_LATER, "auth does not answer") from error

    def _end(self) -> float | None:
        """When the token ends, on the loop's clock. An anonymous caller's is renewed."""
        if self._token is None or self._principal is None or self._principal.expires == float("inf"):
            return None
        return asyncio.get_running_loop().time() + self._principal.expires - time.time()

    def _subscribe(self, operation_id: str, payload: Any) -> None:
        if self._principal is None:
            raise Close(UNAUTHORIZED, "unauthorized")
        if operation_id in self._tasks:
            raise Close(ID_TAKEN, f"subscriber for {operation_id} already exists"[:100])
        try:
            parameters = Parameters.of(payload)
        except BadRequest as error:
            raise Close(BAD_MESSAGE, str(error)) from error
        context = _trace_context(payload.get("extensions"))
        self._tasks[operation_id] = asyncio.create_task(self._operate(operation_id, parameters, context))

    async def _operate(self, operation_id: str, parameters: Parameters, context: TraceHeaders) -> None:
        """Run one operation to its end, and tell the client of it."""
        with suppress(Gone):
            last = await self._outcome(operation_id, parameters, context)
            if self._tasks.get(operation_id) is asyncio.current_task():
                del self._tasks[operation_id]
                await self._send({"id": operation_id, **last})

    async def _outcome(self, operation_id: str, parameters: Parameters, context: TraceHeaders) -> dict[str, Any]:
        """The message that an operation ends with."""
        try:
            await self._answer(operation_id, parameters, context)
        except Gone:
            raise
        except Refused as refused:
            return {"type": "error", "payload": refused.errors}
        except Exception as error:
            return {"type": "error", "payload": [error_of(error)]}
        return {"type": "complete"}

    async def _still_verified(self) -> None:
        """What let the client in may have ended or been revoked since; then the socket goes with it. Else raises."""
        if self._token is None:
            return
        try:
            self._principal = await verified(self._door.verifier, self._token)
        except REFUSED as error:
            self._end_with = Close(FORBIDDEN, str(error))
            if self._reader is not None:
                self._reader.cancel()
            raise Gone from error

    async def _answer(self, operation_id: str, parameters: Parameters, context: TraceHeaders) -> None:
        running = self._operations.begin(*context)
        await self._still_verified()
        if len(self._tasks) > self._door.max_operations:
            raise TooManyOperations(f"a socket may run {self._door.max_operations} operations at once")
        prepared = self._operations.engine.prepare(parameters)
        if prepared.operation.type is OperationType.SUBSCRIPTION:
            await self._follow(operation_id, prepared)
        else:
            act_for(self._operations.clients.of(self._scope))
            await self._run(operation_id, prepared, running)

    async def _follow(self, operation_id: str, prepared: Prepared) -> None:
        """One run for each event, each with a trace of its own."""
        context = self._operations.context(self._principal)
        events = await self._operations.engine.subscribe(prepared, context)
        try:
            async for event in events:
                running = self._operations.begin()
                await self._still_verified()
                await self._run(operation_id, prepared, running, event)
        finally:
            await events.aclose()

    async def _run(self, operation_id: str, prepared: Prepared, running: Running, event: object = None) -> None:
        answer = await self._operations.run(running, prepared, self._token, self._principal, event)
        running.stop()
        await self._send({"id": operation_id, "type": "next", "payload": answer.body})
        running.end()

    async def _send(self, message: dict[str, Any]) -> None:
        text = orjson.dumps(message, option=orjson.OPT_UTC_Z).decode()
        try:
            await self._send_raw({"type": "websocket.send", "text": text})
        except OSError as error:
            raise Gone from error

    async def _close(self, code: int, reason: str) -> None:
        with suppress(OSError):
            await self._send_raw({"type": "websocket.close", "code": code, "reason": reason})


def _decoded(message: Message) -> dict[str, Any]:
    try:
        decoded = orjson.loads(message.get("text") or b"")
    except orjson.JSONDecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        raise Close(BAD_MESSAGE, "a message is a JSON object")
    return decoded


def _trace_context(extensions: Any) -> TraceHeaders:
    """What HTTP has as headers, from a request's extensions: a browser cannot set headers of a socket."""
    given = [(extensions or {}).get(name) for name in ("traceparent", "tracestate", "baggage")]
    parent, state, baggage = (value if isinstance(value, str) else "" for value in given)
    return parent, state, baggage


def _authorization(payload: Any, scope: Scope) -> bytes | None:
    """From `connection_init`, which is all that a browser can fill, or else from the handshake."""
    given = payload if isinstance(payload, dict) else {}
    for name, value in given.items():
        if name.lower() == "authorization" and isinstance(value, str):
            return value.encode("latin-1", "replace")
    return dict(scope["headers"]).get(b"authorization")
