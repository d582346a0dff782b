"""A service that does what it is told, in all four RPC shapes and inside the same scopes as every other."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import SecretStr

from neurectomy.auth.v1 import access_pb2
from services.auth.tokens import Grant, SigningKey, Tokens
from services.runtime import channels, errors, telemetry
from services.runtime.caller import Principal
from services.runtime.channels import Token
from services.runtime.errors import DomainError
from services.runtime.export import SpanExport
from services.runtime.loop_lag import loop_lag
from services.runtime.scopes import MAX_MESSAGE, Context, ScopedServer
from services.runtime.server import OPTIONS, scopes_for
from services.runtime.settings import ServiceSettings
from services.runtime.span_wire import Kind
from services.runtime.telemetry import Recording, span
from services.runtime.trace_context import TraceContext, new_trace_id
from services.runtime.verification import PublicKeys, parse_key_set
from services.runtime.verifier import CACHE_SECONDS, Verifier

SERVICE = "test.Worker"
SHAPES = ("unary_unary", "stream_unary", "unary_stream", "stream_stream")
ASKED_BY_STREAM, ANSWERED_ONCE = ("stream_unary", "stream_stream"), ("unary_unary", "stream_unary")
PERMISSION = "agents:read"
SECRET = "the password is swordfish"
TAKES_AT_MOST = MAX_MESSAGE // 4
BLOCK_SECONDS = 0.8
WAITING = asyncio.Event()
"""A task waits."""


class Caller(NamedTuple):
    """How the worker is called."""

    granted: str | None = PERMISSION
    """The permission in its token; None for no token."""
    seconds: float = 30.0
    cancels: bool = False
    leaves: bool = False
    """After the first response."""
    sends: int = 0
    """So many bytes more than the task."""


FAILURES: dict[str, Callable[[], DomainError]] = {
    "CREDENTIALS_INVALID": errors.CredentialsInvalid,
    "ANONYMOUS_ACCESS_DISABLED": errors.AnonymousAccessDisabled,
    "AGENT_NOT_FOUND": lambda: errors.AgentNotFound("x"),
    "EMAIL_TAKEN": errors.EmailTaken,
    "INVALID_FIELDS": lambda: errors.InvalidFields(name="is missing"),
    "STALE_ETAG": lambda: errors.StaleEtag("2"),
    "EXECUTION_FINISHED": errors.ExecutionFinished,
    "TOO_LARGE": lambda: errors.TooLarge("too large"),
    "OVERLOADED": errors.Overloaded,
    "STORE_UNAVAILABLE": lambda: errors.StoreUnavailable("postgres"),
    "DEADLINE_EXCEEDED": errors.DeadlineExceeded,
    "INTERNAL": errors.Internal,
}


async def _work(task: str) -> StringValue:
    with span(Kind.POSTGRES, "SELECT answer"):
        if task in FAILURES:
            raise FAILURES[task]()
        await _do(task)
    return StringValue(value="x" * (MAX_MESSAGE + 1) if task == "answer too much" else "answer")


async def _do(task: str) -> None:
    if task == "bug":
        raise RuntimeError(SECRET)
    if task == "wait":
        WAITING.set()
        await asyncio.sleep(60)
    if task == "block":
        time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - that is what it is told to do
    if task == "await what is cancelled":
        forgotten = asyncio.ensure_future(asyncio.sleep(60))
        forgotten.cancel()
        await forgotten
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)


async def _unary_unary(request: StringValue, context: Context) -> StringValue:
    if request.value == "nothing":
        return StringValue()
    return [await _work(task) for task in request.value.split(", then ")][-1]


async def _stream_unary(requests: AsyncIterator[StringValue], context: Context) -> StringValue:
    return [await _unary_unary(request, context) async for request in requests][-1]


async def _unary_stream(request: StringValue, context: Context) -> AsyncIterator[StringValue]:
    if request.value == "nothing":
        return
    for task in request.value.split(", then "):
        yield await _work(task)
    while request.value == "answer without end":
        yield StringValue(value="x" * 1_000)


async def _stream_stream(requests: AsyncIterator[StringValue], context: Context) -> AsyncIterator[StringValue]:
    async for request in requests:
        async for response in _unary_stream(request, context):
            yield response


HANDLERS = dict(zip(SHAPES, (_unary_unary, _stream_unary, _unary_stream, _stream_stream), strict=True))


def _handler(shape: str) -> Any:
    make = getattr(grpc, f"{shape}_rpc_method_handler")
    return make(HANDLERS[shape], StringValue.FromString, StringValue.SerializeToString)


def _declare() -> None:
    """Tell the pool of protos which permission the methods need, as a proto file would."""
    service = descriptor_pb2.ServiceDescriptorProto(name="Worker")
    for shape in SHAPES:
        method = service.method.add(name=shape, input_type=".test.Nothing", output_type=".test.Nothing")
        method.options.Extensions[access_pb2.access].permission = PERMISSION
    nothing = descriptor_pb2.DescriptorProto(name="Nothing")
    file = descriptor_pb2.FileDescriptorProto(
        name="test/worker.proto", package="test", message_type=[nothing], service=[service]
    )
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


_declare()


class Authority:
    """Issues tokens, and lets the worker verify them."""

    def __init__(self) -> None:
        self._tokens = Tokens([SigningKey.generate()], 600)

    def token(self, *permissions: str) -> str:
        grant = Grant(str(uuid4()), "user", frozenset(permissions), uuid4(), str(uuid4()), 1)
        return self._tokens.issue(grant).token

    def verifier(self) -> Verifier:
        return Verifier(self._keys, self._check, self._api_key)

    async def _keys(self) -> PublicKeys:
        return parse_key_set(self._tokens.key_set())

    async def _check(self, _token: str, _principal: Principal) -> float:
        return CACHE_SECONDS

    async def _api_key(self, key: str) -> Principal:
        raise errors.TokenInvalid


def stub(channel: grpc.aio.Channel, token: str | Token | None, shape: str) -> Any:
    """The worker's method, as another service calls it."""
    make = getattr(channels.traced(channel, token if callable(token) else given(token)), shape)
    return make(f"/{SERVICE}/{shape}", StringValue.SerializeToString, StringValue.FromString)


def given(token: str | None) -> Token:
    """The token, for channels."""

    async def give() -> str | None:
        return token

    return give


async def answered(call: Any, shape: str, task: str, **options: float) -> None:
    """Call, and take all responses."""
    request = StringValue(value=task)
    sent = once(request) if shape in ASKED_BY_STREAM else request
    if shape in ANSWERED_ONCE:
        await call(sent, **options)
        return
    async for _ in call(sent, **options):
        pass


async def once(request: StringValue) -> AsyncIterator[StringValue]:
    """A stream of one request."""
    yield request


def recorded() -> Recording:
    """Record what this task does from now on."""
    recording = telemetry.begin("test", TraceContext(new_trace_id()), record=True)
    assert recording is not None
    return recording


@asynccontextmanager
async def working(authority: Authority, export: SpanExport) -> AsyncIterator[str]:
    """A worker's target. It takes smaller messages than its callers may send."""
    settings = ServiceSettings(auth_target="nobody", service_secret=SecretStr("nothing"))
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", TAKES_AT_MOST), *OPTIONS])
    scoped = ScopedServer(server, scopes_for("worker", settings, authority.verifier(), export))
    scoped.add_registered_method_handlers(SERVICE, {shape: _handler(shape) for shape in SHAPES})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def _main() -> None:
    """Print target and token, and work until killed."""
    authority = Authority()
    async with working(authority, SpanExport("worker")) as target:
        print(target, authority.token(PERMISSION), flush=True)
        with loop_lag.measured():
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
