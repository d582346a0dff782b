"""The questions that the page asks: RPCs of the traces service as GET and JSON, in the proto's own JSON form."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from neurectomy.traces.v1 import traces_pb2
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceServicer
from services.runtime.caller import access_rule
from services.runtime.errors import ErrorsScope, InvalidFields
from services.traces.http.readers import Readers

METHODS = {
    "/api/operations": "ListOperations",
    "/api/timeline": "BlameTimeline",
    "/api/blame": "Blame",
    "/api/traces": "ListTraces",
    "/api/traces/{trace_id}": "GetTrace",
}
SECONDS = {"window": "window", "end": "end_time"}
"""Parameters that are seconds here, and a Duration or a Timestamp there."""
NUMBERS: dict[int, Callable[[str], float]] = {FieldDescriptor.CPPTYPE_DOUBLE: float, FieldDescriptor.CPPTYPE_INT32: int}
MAX_SECONDS = 253_402_300_799.0
"""The end of the year 9999, which is a Timestamp's."""
SERVICE = traces_pb2.DESCRIPTOR.services_by_name["TracesService"]


Endpoint = Callable[[Request], Awaitable[Response]]


def routes(traces: TracesServiceServicer, readers: Readers, settings: Mapping[str, str]) -> list[Route]:
    """A route for each question, and one for what the page is told about this installation."""

    async def told(_: Request) -> Response:
        return JSONResponse(settings)

    questions = [Route(path, _endpoint(method, traces, readers)) for path, method in METHODS.items()]
    return [*questions, Route("/api/settings", _admitted(told, "GetTrace", readers))]


def _endpoint(name: str, traces: TracesServiceServicer, readers: Readers) -> Endpoint:
    call: Any = getattr(traces, name)
    kind = GetMessageClass(SERVICE.methods_by_name[name].input_type)

    async def answer(request: Request) -> Response:
        parameters = [*request.query_params.multi_items(), *request.path_params.items()]
        message = await call(_filled(kind(), parameters), None)
        body = await asyncio.to_thread(_json, message)  # a large trace takes its time
        return Response(body, media_type="application/json")

    return _admitted(answer, name, readers)


def _admitted(endpoint: Endpoint, name: str, readers: Readers) -> Endpoint:
    """The endpoint for those who may call the RPC of that name."""
    permission = access_rule(f"/{SERVICE.full_name}/{name}").permission

    async def answer(request: Request) -> Response:
        with ErrorsScope(name):
            await readers.admit(request, permission)
            return await endpoint(request)

    return answer


def _json(message: Message) -> bytes:
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return orjson.dumps(fields)


def _filled(message: Message, parameters: list[tuple[str, str]]) -> Message:
    """The request that the parameters say. Raises InvalidFields, naming each that is not right."""
    wrong = {}
    for name, text in parameters:
        try:
            _fill(message, name, text)
        except (ValueError, OverflowError):
            wrong[name] = "is not a number that it can be"
        except KeyError:
            wrong[name] = "is no parameter of this"
    if wrong:
        raise InvalidFields(**wrong)
    return message


def _fill(message: Message, name: str, text: str) -> None:
    if name in SECONDS and SECONDS[name] in message.DESCRIPTOR.fields_by_name:
        getattr(message, SECONDS[name]).FromNanoseconds(round(_seconds(text) * 1e9))
        return
    kind = message.DESCRIPTOR.fields_by_name[name].cpp_type
    setattr(message, name, text if kind == FieldDescriptor.CPPTYPE_STRING else NUMBERS[kind](text))


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= MAX_SECONDS:  # which no NaN is
        raise ValueError(text)
    return seconds
