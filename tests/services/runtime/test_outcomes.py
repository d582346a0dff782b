"""The truth table: each way in which a call can end, in each shape, on a real server.

The caller's view, both spans, the metric and the log line tell one story, and each span is told once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, cast

import grpc
import pytest
import pytest_asyncio
from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from structlog.processors import ExceptionRenderer
from structlog.testing import capture_logs

from services.runtime import telemetry
from services.runtime.channels import OPTIONS
from services.runtime.errors import DETAILS_KEY, AgentNotFound, DeadlineExceeded, Internal
from services.runtime.export import SpanExport
from services.runtime.logs import about, where
from services.runtime.outcomes import CODES, outcome_of
from services.runtime.scopes import MAX_MESSAGE
from services.runtime.span_wire import Kind, unpack
from services.runtime.telemetry import Recording
from services.runtime.trace_context import TraceContext, new_trace_id
from tests.conftest import reason
from tests.services.runtime.worker import (
    ANSWERED_ONCE,
    ASKED_BY_STREAM,
    FAILURES,
    PERMISSION,
    SECRET,
    SERVICE,
    SHAPES,
    TAKES_AT_MOST,
    WAITING,
    Authority,
    Caller,
    answered,
    once,
    recorded,
    stub,
    working,
)

NUMBERS = {name: number for number, name in CODES.items()}

PATIENCE_SECONDS = 30
OK, LATE, GONE = "OK", "DEADLINE_EXCEEDED", "CANCELLED"
UNARY_IN, UNARY_OUT = ("unary_unary", "unary_stream"), ANSWERED_ONCE
STREAM_IN, STREAMED = ASKED_BY_STREAM, ("unary_stream", "stream_stream")


PATIENT, HURRIED, GIVES_UP, LEAVES = Caller(), Caller(seconds=0.4), Caller(cancels=True), Caller(leaves=True)
ROUNDED = Caller(seconds=1.001)
"""Travels as 1.01 s: it gives up before the worker's own clock says so."""
STRANGER, POWERLESS = Caller(granted=None), Caller(granted="graph:read")
SENDS_MUCH, SENDS_MORE = Caller(sends=TAKES_AT_MOST), Caller(sends=MAX_MESSAGE)


class Row(NamedTuple):
    """A row: what is done and how it is called; then what the caller sees and what the worker says of it."""

    name: str
    task: str
    caller: Caller
    client: str
    server: str | None
    """None: the call never got as far as a handler."""
    reason: str
    level: str
    home: bool
    """The worker's spans ride home; if not, the worker exports them by itself."""
    shapes: Sequence[str] = SHAPES


def _failing(name: str) -> Row:
    error = FAILURES[name]()
    return Row(name, name, PATIENT, error.code.name, error.code.name, name, error.level, True)


BROKEN, STRAY, ENDLESS = "answer, then AGENT_NOT_FOUND", "await what is cancelled", "answer without end"
DENIED, UNPROVEN, LIMIT, BUG, LOST = (
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "RESOURCE_EXHAUSTED",
    "INTERNAL",
    "NOT_FOUND",
)
NO_AGENT, NO_TOKEN, LACKING, LARGE = "AGENT_NOT_FOUND", "TOKEN_MISSING", "PERMISSION_MISSING", "TOO_LARGE"
DEBUG, INFO, WARNING, ERROR, NONE = "debug", "info", "warning", "error", ""
HOME, AWAY = True, False
# fmt: off
ENDINGS = [
    #   name                  what it does          caller      client    worker    reason    level    spans  shapes
    Row("ok",                 "answer",             PATIENT,    OK,       OK,       NONE,     DEBUG,   HOME),
    Row("empty",              "nothing",            PATIENT,    OK,       OK,       NONE,     DEBUG,   HOME),
    *map(_failing, FAILURES),
    Row("bug",                "bug",                PATIENT,    BUG,      BUG,      BUG,      ERROR,   HOME),
    Row("stray cancellation", STRAY,                PATIENT,    BUG,      BUG,      BUG,      ERROR,   HOME),
    Row("cancelled",          "wait",               GIVES_UP,   GONE,     GONE,     GONE,     INFO,    AWAY),
    Row("late, waits",        "wait",               HURRIED,    LATE,     LATE,     LATE,     WARNING, AWAY),
    Row("late by its clock",  "wait",               ROUNDED,    LATE,     LATE,     LATE,     WARNING, AWAY),
    Row("late, blocks",       "block",              HURRIED,    LATE,     LATE,     LATE,     WARNING, AWAY),
    Row("late, then a bug",   "block, then bug",    HURRIED,    LATE,     LATE,     LATE,     ERROR,   AWAY, UNARY_OUT),
    Row("broken half-way",    BROKEN,               PATIENT,    LOST,     LOST,     NO_AGENT, INFO,    HOME),
    Row("bug half-way",       "answer, then bug",   PATIENT,    BUG,      BUG,      BUG,      ERROR,   HOME),
    Row("late half-way",      "answer, then wait",  HURRIED,    LATE,     LATE,     LATE,     WARNING, AWAY),
    Row("left, is sent to",   ENDLESS,             LEAVES,     GONE,     GONE,     GONE,     INFO,    AWAY, STREAMED),
    Row("left, waits",        "answer, then wait",  LEAVES,     GONE,     GONE,     GONE,     INFO,    AWAY, STREAMED),
    Row("no token",           "answer",             STRANGER,   UNPROVEN, UNPROVEN, NO_TOKEN, INFO,    HOME),
    Row("no permission",      "answer",             POWERLESS,  DENIED,   DENIED,   LACKING,  INFO,    HOME),
    Row("answer too large",   "answer too much",    PATIENT,    LIMIT,    LIMIT,    LARGE,    INFO,    HOME),
    # gRPC itself refuses requests that are too large: before there is a handler, or by taking the call away from it.
    Row("too large to take",  "answer",             SENDS_MUCH, LIMIT,    None,     NONE,     NONE,    AWAY, UNARY_IN),
    Row("too large to take",  "answer",             SENDS_MUCH, LIMIT,    GONE,     GONE,     INFO,    AWAY, STREAM_IN),
    Row("too large to send",  "answer",             SENDS_MORE, LIMIT,    None,     NONE,     NONE,    AWAY, UNARY_IN),
    Row("too large to send",  "answer",             SENDS_MORE, LIMIT,    GONE,     GONE,     INFO,    AWAY, STREAM_IN),
]
# fmt: on
CELLS = [pytest.param(row, shape, id=f"{row.name}-{shape}") for row in ENDINGS for shape in row.shapes]


class Told(NamedTuple):
    """What each of them says of one call."""

    client: str
    client_reason: str
    client_spans: list[str]
    worker_spans: list[str]
    home: bool
    counted: dict[str, float]
    logged: list[tuple[str, str, str]]
    """Level, code and reason of each line."""


def _expected(row: Row) -> Told:
    codes = [row.server] if row.server else []
    lines = [(row.level, row.server, row.reason)] if row.server else []
    stated = row.reason if row.home else ""
    return Told(row.client, stated, [row.client], codes, row.home, dict.fromkeys(codes, 1.0), lines)


class Worker:
    """A worker, and all that it says of itself."""

    def __init__(self, authority: Authority, exporter: InMemorySpanExporter, channel: grpc.aio.Channel) -> None:
        self.authority = authority
        self._exporter = exporter
        self.channel = channel

    async def told(self, row: Row, shape: str) -> Told:
        """Have the row happen in the task's own context, and gather what is said of it."""
        recording, before = recorded(), self._counts(shape)
        WAITING.clear()
        with capture_logs(processors=[about("worker"), ExceptionRenderer(where)]) as lines:
            client, stated = await self._seen(row, shape)
            if row.server:
                await _until(lambda: any(line["event"] == "call ended" for line in lines))
        assert SECRET not in str(lines)
        after = self._counts(shape)
        spans = [*_home(recording), *self.exported(recording.trace.trace_id)]
        assert len({span for span, _ in spans}) == len(spans)
        return Told(
            client,
            stated,
            [CODES[span.status] for span in recording.spans],
            [CODES[status] for _, status in spans],
            bool(_home(recording)),
            {code: count - before.get(code, 0.0) for code, count in after.items() if count != before.get(code)},
            [_line(line, shape, recording) for line in lines],
        )

    async def _seen(self, row: Row, shape: str) -> tuple[str, str]:
        """Code and reason, as the caller learns them."""
        task = asyncio.ensure_future(self._call(row, shape))
        if row.caller.cancels:
            await WAITING.wait()
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return GONE, ""
        except grpc.aio.AioRpcError as error:
            return error.code().name, _stated(error)
        return GONE if row.caller.leaves else OK, ""

    async def _call(self, row: Row, shape: str) -> None:
        granted = row.caller.granted
        token = None if granted is None else self.authority.token(granted)
        call = stub(self.channel, token, shape)
        request = StringValue(value=row.task + " " * row.caller.sends)
        sent = once(request) if shape in ASKED_BY_STREAM else request
        if shape not in STREAMED:
            await call(sent, timeout=row.caller.seconds)
            return
        async for _ in call(sent, timeout=row.caller.seconds):
            if row.caller.leaves:
                break

    def _counts(self, shape: str) -> dict[str, float]:
        """Calls of a method by status code, as its metric has them."""
        labels = {code.name: {"method": f"/{SERVICE}/{shape}", "code": code.name} for code in grpc.StatusCode}
        values = {name: REGISTRY.get_sample_value("grpc_server_handled_total", by) for name, by in labels.items()}
        return {name: value for name, value in values.items() if value}

    def exported(self, trace_id: str) -> list[tuple[int, int]]:
        """Id and status of the calls of a trace that did not ride home."""
        return [
            (span.context.span_id, NUMBERS[str(span.attributes["rpc.response.status_code"])])
            for span in self._exporter.get_finished_spans()
            if span.context and f"{span.context.trace_id:032x}" == trace_id and span.attributes
            if "rpc.response.status_code" in span.attributes
        ]


def _stated(error: grpc.aio.AioRpcError) -> str:
    """The reason, where the service stated one; its words must not repeat those of a bug."""
    assert SECRET not in str(error)
    return reason(error) if DETAILS_KEY in dict(error.trailing_metadata() or ()) else ""


def _home(recording: Recording) -> list[tuple[int, int]]:
    """Id and status of the callees' calls that rode home."""
    blobs = [span.child for span in recording.spans if span.child]
    return [
        (int(span.span_id), span.status) for blob in blobs for span in unpack(blob, 1, 0, 0) if span.kind == Kind.SERVER
    ]


def _line(line: Any, shape: str, recording: Recording) -> tuple[str, str, str]:
    assert (line["event"], line["method"]) == ("call ended", f"/{SERVICE}/{shape}")
    assert line["trace_id"] == recording.trace.trace_id
    return line["log_level"], line["code"], line.get("reason", "")


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110 - what it waits for happens in a server, which has no event for it
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def worker() -> AsyncIterator[Worker]:
    authority, exporter = Authority(), InMemorySpanExporter()
    export = SpanExport("worker", [cast(Any, SimpleSpanProcessor(exporter))])
    async with working(authority, export) as target, grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        yield Worker(authority, exporter, channel)


@pytest.mark.parametrize(("row", "shape"), CELLS)
async def test_all_say_the_same(worker: Worker, row: Row, shape: str) -> None:
    assert await asyncio.ensure_future(worker.told(row, shape)) == _expected(row)


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_caller_that_asks_for_no_spans_has_them_exported_if_it_samples(
    worker: Worker, shape: str, sampled: bool
) -> None:
    telemetry.begin("test", TraceContext(trace_id := new_trace_id(), 7, sampled), record=False)
    token = worker.authority.token(PERMISSION)
    await answered(stub(worker.channel, token, shape), shape, "answer")
    with pytest.raises(grpc.aio.AioRpcError):
        await answered(stub(worker.channel, token, shape), shape, "bug")
    assert [CODES[status] for _, status in worker.exported(trace_id)] == (["OK", "INTERNAL"] if sampled else [])


ENDS = [
    # error, seconds that there were, seconds that are left: code, and whether trailers arrive
    (None, None, None, OK, True),
    (None, 1.0, 0.001, OK, True),
    (None, 1.0, 0.0, LATE, False),
    (AgentNotFound("x"), 1.0, 0.001, "NOT_FOUND", True),
    (AgentNotFound("x"), 1.0, 0.0, LATE, False),
    (Internal(), 1.0, 0.0, LATE, False),
    (DeadlineExceeded(), 30.0, 20.0, LATE, True),
    (DeadlineExceeded(), 1.0, 0.001, LATE, False),
    (DeadlineExceeded(), None, None, LATE, True),
    (asyncio.CancelledError(), None, None, GONE, False),
    (asyncio.CancelledError(), 1.0, 0.5, GONE, False),
    (asyncio.CancelledError(), 1.0, 0.029, LATE, False),
    (asyncio.CancelledError(), 30.0, 0.3, LATE, False),
    (asyncio.CancelledError(), 30.0, 0.0, LATE, False),
]


@pytest.mark.parametrize(("error", "limit", "left", "code", "heard"), ENDS)
def test_an_end_is_late_by_whichever_clock(
    error: BaseException | None, limit: float | None, left: float | None, code: str, heard: bool
) -> None:
    outcome = outcome_of(error, limit, left)
    assert (CODES[outcome.code], outcome.heard) == (code, heard)
