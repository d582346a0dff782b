"""The traces service as an operator calls it: on the local stack, or anywhere by address and secret."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration

from deploy.local.failure import StackError
from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.runtime import channels
from services.runtime.channels import Token
from services.runtime.settings import TlsSettings, load
from services.runtime.tls import Tls

if TYPE_CHECKING:
    from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceAsyncStub

IDENTITY = "cli"
"""As whom the command line proves itself to auth."""
NOT_KEPT = (
    "No trace {trace_id} is kept. Every request is measured, but a trace stays only if it was slow for its operation, "
    "failed, was one of the few that are sampled, or was asked for: send `traceparent` with the sampled flag, "
    "00-<32 digits>-<16 digits>-01, and the trace is under those 32 digits. A new one takes a few seconds to come in, "
    "and old ones make room for new ones."
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an operator's calls go, and what they prove themselves with."""

    auth: str
    traces: str
    secret: str
    tls: Tls | None


def local(state: Path) -> Target:
    """The stack that uses the folder. Raises StackError when none does."""
    from deploy.local.addresses import Addresses  # what it needs is not installed where there is no local stack
    from deploy.local.state import State

    addresses = Addresses.of_running(State(state))
    auth, traces = addresses.targets["auth"], addresses.targets["traces"]
    return Target(auth, traces, addresses.secrets.services[IDENTITY], addresses.tls)


def chosen(state: Path, auth: str, traces: str, secret: str, needed: Sequence[str]) -> Target:
    """The system at the given addresses, or that of the folder when none is given. Raises StackError for half of it.

    A system elsewhere is called with mTLS where TLS_* say so; wrong ones end the process with status 2.
    """
    given = {"AUTH_TARGET": auth, "TRACES_TARGET": traces, "SERVICE_SECRET": secret}
    if not auth and not traces:
        return local(state)
    missing = [key for key in needed if not given[key]]
    if missing:
        raise StackError(f"A system elsewhere is reached by {', '.join(needed)}; not set: {', '.join(missing)}.")
    return Target(auth, traces, secret, load(TlsSettings).tls)


@asynccontextmanager
async def operators_token(target: Target) -> AsyncIterator[Token]:
    """Tokens of the command line's own identity. Asking for one raises StackError where auth gives none."""
    async with channels.connect(target.auth, channels.no_token, target.tls) as auth:
        identity = channels.ServiceIdentity(auth, IDENTITY, target.secret)

        async def token() -> str | None:
            try:
                return await identity.token()
            except grpc.aio.AioRpcError as error:
                raise StackError(told("auth", target.auth, error)) from error

        yield token


@asynccontextmanager
async def traces(target: Target) -> AsyncIterator["TracesServiceAsyncStub"]:
    """The traces service, as the operator at the command line. Its errors come out as StackError."""
    async with (
        operators_token(target) as token,
        channels.connect(target.traces, token, target.tls) as channel,
    ):
        try:
            yield TracesServiceStub(channel)
        except grpc.aio.AioRpcError as error:
            raise StackError(told("traces", target.traces, error)) from error


def told(service: str, target: str, error: grpc.aio.AioRpcError) -> str:
    """What a person makes of a failed call."""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return f"The {service} service does not answer at {target}: {error.details()}"
    return f"The {service} service at {target} answers {error.code().name}: {error.details()}"


async def find(stub: "TracesServiceAsyncStub", words: str, window_seconds: int) -> str:
    """The one operation that is meant by a part of its name, or the most frequent of those. Raises StackError."""
    return match(words, [one.operation for one in await operations(stub, window_seconds)], window_seconds)


def match(words: str, seen: Sequence[str], window_seconds: int) -> str:
    """The one of the operations that is meant, if any. Raises StackError."""
    if not seen:
        raise StackError(
            f"No request came in the last {window_seconds:,} s, so there is nothing to blame anyone for. "
            "Look further back with --window, such as --window 1h."
        )
    found = [name for name in seen if words in name]
    if not found:
        raise StackError(f"No operation has {words!r} in its name. There are:\n  " + "\n  ".join(seen))
    return words if words in found else found[0]


async def operations(stub: "TracesServiceAsyncStub", window_seconds: int) -> list[pb.Operation]:
    """The operations seen in the window, the most frequent first."""
    request = pb.ListOperationsRequest(window=Duration(seconds=window_seconds))
    return list((await stub.ListOperations(request)).operations)


async def judge(
    stub: "TracesServiceAsyncStub", operation: str, percentile: float, window_seconds: int
) -> pb.BlameResponse:
    """The split of a percentile of one operation's latency."""
    window = Duration(seconds=window_seconds)
    return await stub.Blame(pb.BlameRequest(operation=operation, percentile=percentile, window=window))


async def opened(stub: "TracesServiceAsyncStub", trace_id: str) -> pb.GetTraceResponse:
    """One kept trace, by its id or by a whole `traceparent`. Raises StackError for one that was not kept."""
    digits = trace_id_of(trace_id)
    try:
        return await stub.GetTrace(pb.GetTraceRequest(trace_id=digits))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        raise StackError(NOT_KEPT.format(trace_id=digits)) from error


def trace_id_of(text: str) -> str:
    """The 32 digits, from a `traceparent` too. Raises StackError."""
    match = re.fullmatch(r"(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?", text.strip().lower())
    if match is None:
        raise StackError(f"{text!r} is no trace id, which has 32 hexadecimal digits.")
    return match[1]


def seconds_of(duration: str) -> int:
    """The seconds of `90s`, `5m`, `2h` or a bare number of seconds. Raises StackError."""
    match = re.fullmatch(r"(\d{1,9})([smh]?)", duration, re.ASCII)
    if match is None or int(match[1]) == 0:
        raise StackError(f"{duration!r} is no length of time. Write it as 90s, 5m or 2h.")
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3_600}[match[2]]


async def trace_at(target: Target, trace_id: str) -> pb.GetTraceResponse:
    """One kept trace of a system. See opened."""
    async with traces(target) as stub:
        return await opened(stub, trace_id)


async def token_at(target: Target) -> str:
    """An operator's token. Raises StackError."""
    async with operators_token(target) as token:
        return await token() or ""
