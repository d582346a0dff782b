"""Spans of the request in progress: recorded as plain tuples, sent home with the answer.

A caller that wants a call's spans sends `x-spans: 1` beside the standard `traceparent`. One that does not, gets
ordinary OpenTelemetry: its sampled flag decides, and this process exports its own spans.
"""

import asyncio
import random
import re
import time
from contextvars import ContextVar, Token
from types import TracebackType

import grpc

from services.runtime import span_wire
from services.runtime.errors import DomainError
from services.runtime.export import INSTANCE, SpanExport
from services.runtime.readable import ERROR_TYPE
from services.runtime.scopes import Call
from services.runtime.span_wire import OK, Attributes, Kind, Recorded

ASK_KEY = "x-spans"
BLOB_KEY = "x-spans-bin"
CANCELLED: int = grpc.StatusCode.CANCELLED.value[0]
UNKNOWN: int = grpc.StatusCode.UNKNOWN.value[0]
MAX_STATE = 512
MAX_BAGGAGE = 8_192
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?P<more>-.*)?"
)


class TraceContext:
    """Which trace this request belongs to, and what came with it by W3C Trace Context and Baggage."""

    __slots__ = ("carried", "parent_id", "sampled", "state", "trace_id")

    def __init__(
        self, trace_id: str, parent_id: int | None = None, sampled: bool = False, state: str = "", baggage: str = ""
    ) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.sampled = sampled
        self.state = state
        self.carried: tuple[tuple[str, str], ...] = ()
        """What callees get unchanged, beside `traceparent`."""
        if state or baggage:
            pairs = (("tracestate", state), ("baggage", baggage))
            self.carried = tuple(pair for pair in pairs if pair[1])


class Recording:
    """The spans of one request in this process; times in nanoseconds since it began here."""

    __slots__ = ("_indices", "base", "dropped", "method", "origin", "spans", "trace")

    def __init__(self, method: str, trace: TraceContext) -> None:
        self.method = method
        self.trace = trace
        self.base = INSTANCE << 32 | random.getrandbits(31)
        self.origin = time.perf_counter_ns()
        self.spans: list[Recorded] = []
        self.dropped = 0
        self._indices = 0

    def next_index(self) -> int:
        """The index of a span that begins now."""
        self._indices += 1
        return self._indices

    def add(self, span: Recorded) -> None:
        """Keep the span, or the longest 64 where there are more."""
        if len(self.spans) < span_wire.MAX_SPANS:
            self.spans.append(span)
            return
        self.dropped += 1
        shortest = min(range(len(self.spans)), key=lambda at: self.spans[at].duration)
        if self.spans[shortest].duration < span.duration:
            self.spans[shortest] = span

    def elapsed(self) -> int:
        """Nanoseconds since the request began here."""
        return time.perf_counter_ns() - self.origin

    def pack(self, service: str, status: int) -> bytes:
        """The blob that goes home."""
        return span_wire.pack(service, self.method, self.base, self.elapsed(), status, self.dropped, self.spans)


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)
_trace: ContextVar[TraceContext | None] = ContextVar("trace", default=None)
_parent: ContextVar[int] = ContextVar("parent", default=0)


def current_recording() -> Recording | None:
    """The recording of the request in progress, if anyone asked for it."""
    return _recording.get()


def current_trace() -> TraceContext | None:
    """The trace of the request in progress."""
    return _trace.get()


def current_trace_id() -> str | None:
    """32 hexadecimal digits, or None outside a request."""
    trace = _trace.get()
    return trace.trace_id if trace else None


def current_span_id() -> int:
    """The id of the innermost span in progress, 0 where none is recorded."""
    recording = _recording.get()
    return span_wire.span_id(recording.base, _parent.get()) if recording else 0


def begin(method: str, trace: TraceContext, record: bool) -> Recording | None:
    """Make this task's request the one that spans are recorded for."""
    recording = Recording(method, trace) if record else None
    _trace.set(trace)
    _recording.set(recording)
    _parent.set(0)
    return recording


def new_trace_id() -> str:
    """32 random hexadecimal digits, not all of them zero."""
    return f"{random.getrandbits(128) | 1:032x}"


def extract(traceparent: str | None, tracestate: str = "", baggage: str = "") -> TraceContext:
    """The caller's trace context, or that of a new trace where it has none or a malformed one.

    Of versions to come the first four fields are read, as the recommendation says; `tracestate` over 512 characters
    and `baggage` over 8,192 are dropped. Baggage needs no trace.
    """
    baggage = baggage and _carried(baggage, MAX_BAGGAGE)
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None or (match["more"] is not None and match["version"] == "00"):
        return TraceContext(new_trace_id(), baggage=baggage)
    state = tracestate and _carried(tracestate, MAX_STATE)
    return TraceContext(match[2], int(match[3], 16), bool(int(match[4], 16) & 1), state, baggage)


def _carried(value: str, limit: int) -> str:
    """The value, or nothing where it is too long or holds what gRPC cannot carry: one odd byte would fail the call."""
    return value if len(value) <= limit and value.isascii() and value.isprintable() else ""


def traceparent(trace: TraceContext, span_id: int) -> str:
    """The header that makes a span the parent of what a callee does."""
    return f"00-{trace.trace_id}-{span_id:016x}-{'01' if trace.sampled else '00'}"


class OpenSpan:
    """A span from now until `end`; next to nothing where none is recorded. By itself it is nobody's parent."""

    __slots__ = ("_attributes", "_kind", "_name", "_parent", "_start", "child", "index", "recording")

    def __init__(self, kind: Kind, name: str, attributes: Attributes | None = None) -> None:
        self.recording = recording = _recording.get()
        self.child: bytes | None = None
        """What a callee sent home of itself."""
        if recording is None:
            return
        self._kind, self._name, self._attributes = kind, name, attributes
        self._parent = _parent.get()
        self.index = recording.next_index()
        self._start = time.perf_counter_ns()

    def end(self, error: BaseException | None) -> None:
        """Record it, with the status that the error means."""
        recording = self.recording
        if recording is None:
            return
        duration = time.perf_counter_ns() - self._start
        start, status, attributes = self._start - recording.origin, status_of(error), self._attributes
        if status == UNKNOWN:
            attributes = {**(attributes or {}), ERROR_TYPE: type(error).__qualname__}
        recording.add(
            Recorded(self.index, self._parent, self._kind, self._name, start, duration, status, self.child, attributes)
        )


class span:  # noqa: N801 - it reads as a statement: `with span(Kind.POSTGRES, "SELECT agents"):`
    """Record what happens inside as one span of the request in progress, and as the parent of spans inside it."""

    __slots__ = ("_attributes", "_kind", "_name", "_open", "_outer")

    _outer: Token[int]

    def __init__(self, kind: Kind, name: str, attributes: Attributes | None = None) -> None:
        self._kind, self._name, self._attributes = kind, name, attributes

    def __enter__(self) -> None:
        self._open = OpenSpan(self._kind, self._name, self._attributes)
        if self._open.recording is not None:
            self._outer = _parent.set(self._open.index)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open.recording is not None:
            _parent.reset(self._outer)
            self._open.end(error)


def status_of(error: BaseException | None) -> int:
    """The gRPC status code that an outcome means."""
    if error is None:
        return OK
    if isinstance(error, DomainError):
        return int(error.code.value[0])
    if isinstance(error, grpc.aio.AioRpcError):
        return int(error.code().value[0])
    return CANCELLED if isinstance(error, asyncio.CancelledError | GeneratorExit) else UNKNOWN


class TracingScope:
    """Times the whole call. Outermost, so that it sees the code that the caller will see."""

    __slots__ = ("_asked", "_baggage", "_call", "_export", "_recording", "_service")

    def __init__(self, call: Call, service: str, export: SpanExport, baggage: bool = True) -> None:
        self._call = call
        self._service = service
        self._export = export
        self._baggage = baggage

    async def __aenter__(self) -> None:
        metadata = self._call.metadata
        self._asked = ASK_KEY in metadata
        baggage = metadata.get("baggage", "") if self._baggage else ""
        trace = extract(metadata.get("traceparent"), metadata.get("tracestate", ""), baggage)
        if not self._asked:
            trace.sampled = self._export.sampled(trace, self._call.method)
        self._recording = begin(self._call.method, trace, self._asked or trace.sampled)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._recording is None:
            return
        blob = self._recording.pack(self._service, status_of(error))
        if self._asked and not self._unheard(error):
            self._call.trailers.append((BLOB_KEY, blob))
        else:
            self._export.blob(self._recording.trace, blob)

    def _unheard(self, error: BaseException | None) -> bool:
        """No trailer can arrive any more: the call was cancelled, or its deadline has passed unnoticed."""
        return isinstance(error, asyncio.CancelledError | GeneratorExit) or self._call.context.time_remaining() == 0
