"""OTLP/HTTP, as the protocol's specification has it: protobuf or JSON, plain or gzip, answered in the same form."""

import asyncio
import gzip
import json
import zlib
from base64 import b64encode
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import grpc
from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from services.runtime.errors import DomainError, ErrorsScope
from services.traces.http.errors import STATUSES

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_BODY = 4 * 1024 * 1024
"""Bytes, as sent and as unpacked."""
BODY_SECONDS = 10.0
IDENTIFIERS = {"traceId", "spanId", "parentSpanId"}
"""In hexadecimal digits, where protobuf's own JSON form has base64."""

Handler = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """A body that we do not take."""

    def __init__(self, status: int, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


def route(path: str, export: Callable[..., Awaitable[Any]], kind: type[Message]) -> Route:
    """Hands the bodies posted to the path to a servicer's Export."""

    async def take(request: Request) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            message = await _message(request, media_type, kind)
            with ErrorsScope(path):
                return _answer(200, media_type, await export(message, None))
        except Refused as error:
            return _failed(error.status, media_type, error.code, str(error))
        except DomainError as error:
            return _failed(STATUSES[error.code], media_type, error.code, str(error))

    return Route(path, take, methods=["POST"])


async def _message(request: Request, media_type: str, kind: type[Message]) -> Message:
    if media_type not in (PROTOBUF, JSON):
        raise Refused(415, grpc.StatusCode.INVALID_ARGUMENT, f"the body must be {PROTOBUF} or {JSON}")
    body = _unpacked(await _body(request), request.headers.get("content-encoding", "identity").lower())
    try:
        return kind.FromString(body) if media_type == PROTOBUF else await asyncio.to_thread(_from_json, body, kind())
    except (DecodeError, ParseError, TypeError, ValueError, RecursionError) as error:
        raise Refused(400, grpc.StatusCode.INVALID_ARGUMENT, f"the body is no {kind.DESCRIPTOR.name}") from error


async def _body(request: Request) -> bytes:
    if int(request.headers.get("content-length", "0")) > MAX_BODY:  # a number, or the parser had refused it
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise _too_large()
    except TimeoutError:
        raise Refused(408, grpc.StatusCode.DEADLINE_EXCEEDED, "the body came too slowly") from None
    except ClientDisconnect:
        raise Refused(400, grpc.StatusCode.CANCELLED, "the client went away") from None
    return bytes(body)


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise Refused(415, grpc.StatusCode.INVALID_ARGUMENT, "the body may be plain or gzip")
    try:
        with gzip.open(BytesIO(body)) as file:
            unpacked = file.read(MAX_BODY + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(400, grpc.StatusCode.INVALID_ARGUMENT, "the body is no gzip") from error
    if len(unpacked) > MAX_BODY:
        raise _too_large()
    return unpacked


def _too_large() -> Refused:
    return Refused(413, grpc.StatusCode.RESOURCE_EXHAUSTED, f"the body is larger than {MAX_BODY:,} bytes")


def _from_json(body: bytes, message: Message) -> Message:
    fields = json.loads(body, object_hook=_with_bytes)
    if not isinstance(fields, dict):
        raise ParseError("no object")
    return ParseDict(fields, message, ignore_unknown_fields=True)


def _with_bytes(fields: dict[str, Any]) -> dict[str, Any]:
    for name in IDENTIFIERS & fields.keys():
        fields[name] = b64encode(bytes.fromhex(fields[name])).decode()
    return fields


def _failed(status: int, media_type: str, code: grpc.StatusCode, text: str) -> Response:
    return _answer(status, media_type, Status(code=code.value[0], message=text))


def _answer(status: int, media_type: str, message: Message) -> Response:
    if media_type == PROTOBUF:
        return Response(message.SerializeToString(), status, media_type=PROTOBUF)
    return Response(MessageToJson(message, indent=None), status, media_type=JSON)
