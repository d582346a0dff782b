"""GraphQL over HTTP: POST with JSON, and GET for queries, by the rules of the GraphQL over HTTP specification."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl

import grpc
import orjson
from graphql import OperationType

from gateway.clients import act_for
from gateway.errors import RequestError, error_of
from gateway.execution import BadRequest, Parameters, Prepared, Refused
from gateway.identity import token_of, verified
from gateway.limits import BodyTooLarge
from gateway.operations import Operations, Running
from services.runtime.caller import Principal
from services.runtime.errors import DomainError, TokenExpired, TokenRevoked
from services.runtime.verifier import Verifier

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Mapping[bytes, bytes]

JSON = b"application/json"
RESPONSE_JSON = b"application/graphql-response+json"
ANSWERS = {RESPONSE_JSON: RESPONSE_JSON, JSON: JSON, b"application/*": JSON, b"*/*": JSON}
"""What a client accepts -> what it gets; of two that it likes equally, the first here."""
MAX_PARAMETERS = 10
STATUSES = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""What a token's verification can fail with -> what HTTP calls it."""


class MethodNotAllowed(RequestError):
    """Queries come by GET or POST, everything else by POST only."""

    status: ClassVar[int] = 405


class NotAcceptable(RequestError):
    """The client accepts no JSON."""

    status: ClassVar[int] = 406


class RequestTimeout(RequestError):
    """The client takes too long to say what it wants."""

    status: ClassVar[int] = 408


class UnsupportedMediaType(RequestError):
    """The body is no JSON."""

    status: ClassVar[int] = 415


class Disconnected(Exception):
    """The client went away before it had said all."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out."""

    status: int
    media_type: bytes
    content: bytes


class Answered(NamedTuple):
    """How a request was answered."""

    status: int
    running: Running | None = None
    """To be ended; None where nobody waited for the answer."""


class HttpTransport:
    """The ASGI application behind /graphql."""

    def __init__(self, operations: Operations, verifier: Verifier, max_body: int) -> None:
        self._operations = operations
        self._verifier = verifier
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Answered:
        headers: Headers = dict(scope["headers"])
        running = self._operations.begin(*_trace_context(scope, headers))
        try:
            reply = await self._reply(scope, headers, receive, running)
        except Disconnected:
            return Answered(499)
        running.stop()
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": _headers(reply, headers, running)}
        )
        await send({"type": "http.response.body", "body": reply.content})
        return Answered(reply.status, running)

    async def _reply(self, scope: Scope, headers: Headers, receive: Receive, running: Running) -> Reply:
        media_type = JSON
        try:
            media_type = negotiate(headers.get(b"accept", b"*/*"))
            parameters = await self._parameters(scope, headers, receive)
            token, principal = await self._caller(scope, headers, parameters)
            prepared = self._operations.engine.prepare(parameters)
            _check_method(scope["method"], prepared)
            if prepared.operation.type is OperationType.MUTATION:
                act_for(self._operations.clients.of(scope))
            answer = await self._operations.run(running, prepared, token, principal)
            return _json(200, media_type, answer.body)
        except Disconnected:
            raise
        except Refused as refused:
            return _json(400 if media_type == RESPONSE_JSON else 200, media_type, {"errors": refused.errors})
        except Exception as error:
            running.failed = _status(error) >= 500
            return _json(_status(error), media_type, {"errors": [error_of(error)]})

    async def _caller(
        self, scope: Scope, headers: Headers, parameters: Parameters
    ) -> tuple[str | None, Principal | None]:
        """Nobody for a token that has had its time, where the operation is what gets a new one."""
        token = token_of(headers.get(b"authorization"))
        if token and sum(name == b"authorization" for name, _ in scope["headers"]) > 1:
            raise BadRequest("the `Authorization` header must come once")
        try:
            return token, await verified(self._verifier, token) if token else None
        except (TokenExpired, TokenRevoked):
            if self._operations.engine.prepare(parameters).operation.begins:
                return None, None
            raise

    async def _parameters(self, scope: Scope, headers: Headers, receive: Receive) -> Parameters:
        match scope["method"]:
            case "POST":
                if not is_json(headers.get(b"content-type", b"")):
                    raise UnsupportedMediaType("the body must be application/json in UTF-8")
                return Parameters.of(_decoded(await self._body(headers, receive), "the body"))
            case "GET":
                return Parameters.of(_from_query(scope["query_string"]))
        raise MethodNotAllowed("GraphQL takes GET and POST")

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._max_body:
            raise BodyTooLarge(self._max_body)
        try:
            async with asyncio.timeout(self._operations.seconds):
                return await self._received(receive)
        except TimeoutError:
            raise RequestTimeout("the body came too slowly") from None

    async def _received(self, receive: Receive) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            body += message.get("body", b"")
            if len(body) > self._max_body:
                raise BodyTooLarge(self._max_body)
            more = message.get("more_body", False)
        return body


def _from_query(query_string: bytes) -> dict[str, Any]:
    try:
        pairs: dict[str, Any] = dict(
            parse_qsl(query_string.decode("ascii"), max_num_fields=MAX_PARAMETERS, errors="strict")
        )
    except ValueError:
        raise BadRequest("the query string cannot be read") from None
    encoded: dict[str, Any] = {
        name: _decoded(pairs[name].encode(), f"`{name}`") for name in ("variables", "extensions") if name in pairs
    }
    return {**pairs, **encoded}


def _decoded(text: bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"{what} is not JSON: {error}") from None


def _check_method(method: str, prepared: Prepared) -> None:
    kind = prepared.operation.type
    if kind is OperationType.SUBSCRIPTION:
        raise BadRequest("subscriptions come over graphql-transport-ws at this address")
    if method == "GET" and kind is not OperationType.QUERY:
        raise MethodNotAllowed("mutations come by POST")


@lru_cache(maxsize=256)
def negotiate(accept: bytes) -> bytes:
    """The media type of the answer. Raises NotAcceptable."""
    wanted: dict[bytes, float] = {}
    for each in accept.lower().split(b","):
        name, _, parameters = each.strip().partition(b";")
        wanted[name.strip()] = _quality(parameters)
    liked = [name for name in ANSWERS if wanted.get(name, 0.0) > 0]
    if not liked:
        raise NotAcceptable("the answer is application/graphql-response+json or application/json")
    return ANSWERS[max(liked, key=lambda name: wanted[name])]


def _quality(parameters: bytes) -> float:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.strip().partition(b"=")
        if name == b"q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


@lru_cache(maxsize=256)
def is_json(content_type: bytes) -> bool:
    """Whether a body of this type is JSON in UTF-8."""
    name, *parameters = (part.strip() for part in content_type.lower().split(b";"))
    charsets = {part.partition(b"=")[2].strip(b'"') for part in parameters if part.startswith(b"charset=")}
    return name == JSON and charsets <= {b"utf-8", b"utf8"}


def _status(error: Exception) -> int:
    if isinstance(error, RequestError):
        return error.status
    return STATUSES.get(error.code, 500) if isinstance(error, DomainError) else 500


def _json(status: int, media_type: bytes, body: dict[str, Any]) -> Reply:
    return Reply(status, media_type, orjson.dumps(body, option=orjson.OPT_UTC_Z))


def _headers(reply: Reply, headers: Headers, running: Running) -> list[tuple[bytes, bytes]]:
    sent = [
        (b"content-type", reply.media_type + b"; charset=utf-8"),
        (b"content-length", b"%d" % len(reply.content)),
        (b"cache-control", b"no-store"),
        (b"traceresponse", running.traceresponse.encode()),
    ]
    if reply.status == 405:
        sent.append((b"allow", b"GET, POST"))
    if reply.status == 408:
        sent.append((b"connection", b"close"))
    if reply.status == 401:
        sent.append((b"www-authenticate", b"Bearer"))
    if b"server-timing" in headers:
        sent.append((b"server-timing", running.server_timing().encode()))
    return sent


def _trace_context(scope: Scope, headers: Headers) -> tuple[str, str, str]:
    """`traceparent`, `tracestate` and `baggage`, of which the last two may come in pieces; two parents are none."""
    if b"traceparent" not in headers and b"baggage" not in headers:
        return "", "", ""
    return _joined(scope, b"traceparent"), _joined(scope, b"tracestate"), _joined(scope, b"baggage")


def _joined(scope: Scope, name: bytes) -> str:
    return b",".join(value for header, value in scope["headers"] if header == name).decode("latin-1")
