"""Spans of the request in progress: recorded as plain tuples, sent home with the answer.

A caller that wants a call's spans sends `x-spans: 1` beside the standard `traceparent`. One that does not, gets
ordinary OpenTelemetry: its sampled flag decides, and this process exports its own spans.
"""

import random
import re
import time
from contextvars import ContextVar
from types import TracebackType

from services.runtime import span_wire
from services.runtime.export import SpanExport
from services.runtime.outcomes import status_of
from services.runtime.scopes import Call
from services.runtime.span_wire import Attributes, Kind, Recorded

ASK_KEY = "x-spans"
BLOB_KEY = "x-spans-bin"
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class TraceContext:
    """Which trace this request belongs to, and what came with it by W3C Trace Context."""

    __slots__ = ("parent_id", "sampled", "state", "trace_id")

    def __init__(self, trace_id: str, parent_id: int | None = None, sampled: bool = False, state: str = "") -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.sampled = sampled
        self.state = state


class Recording:
    """The spans of one request in this process; times in nanoseconds since it began here."""

    __slots__ = ("_indices", "base", "closed", "dropped", "method", "origin", "spans", "trace")

    def __init__(self, method: str, trace: TraceContext) -> None:
        self.method = method
        self.trace = trace
        self.base = random.getrandbits(63) | 1 << 32
        self.origin = time.perf_counter_ns()
        self.spans: list[Recorded] = []
        self.dropped = 0
        self.closed = False
        """It has been handed on: what a task does that outlives its request is no part of it."""
        self._indices = 0

    def next_index(self) -> int:
        """The index of a span that begins now."""
        self._indices += 1
        return self._indices

    def add(self, span: Recorded) -> None:
        """Keep the span, or the longest 64 where there are more; none once the recording is closed."""
        if self.closed:
            return
        if len(self.spans) < span_wire.MAX_SPANS:
            self.spans.append(span)
            return
        shortest = min(range(len(self.spans)), key=lambda at: self.spans[at].duration)
        if self.spans[shortest].duration < span.duration:
            self.spans[shortest], span = span, self.spans[shortest]
        self.dropped += 1 + span_wire.inside(span.child)

    def elapsed(self) -> int:
        """Nanoseconds since the request began here."""
        return time.perf_counter_ns() - self.origin

    def pack(self, service: str, status: int) -> bytes:
        """The blob that goes home. Closes the recording."""
        self.closed = True
        return span_wire.pack(service, self.method, self.base, self.elapsed(), status, self.dropped, self.spans)


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)
_trace: ContextVar[TraceContext | None] = ContextVar("trace", default=None)
_parent: ContextVar[int] = ContextVar("parent", default=0)


def current_recording() -> Recording | None:
    """The recording of the request in progress, if anyone asked for it."""
    recording = _recording.get()
    return None if recording is None or recording.closed else recording


def current_trace() -> TraceContext | None:
    """The trace of the request in progress."""
    return _trace.get()


def current_trace_id() -> str | None:
    """32 hexadecimal digits, or None outside a request."""
    trace = _trace.get()
    return trace.trace_id if trace else None


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


def extract(traceparent: str | None, tracestate: str = "") -> TraceContext:
    """The caller's trace context, or that of a new trace where it has none or a malformed one."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None or int(match[1], 16) == 0 or int(match[2], 16) == 0:
        return TraceContext(new_trace_id())
    return TraceContext(match[1], int(match[2], 16), bool(int(match[3], 16) & 1), tracestate)


def traceparent(trace: TraceContext, span_id: int) -> str:
    """The header that makes a span the parent of what a callee does."""
    return f"00-{trace.trace_id}-{span_id:016x}-{'01' if trace.sampled else '00'}"


class OpenSpan:
    """A span from now until `end`; next to nothing where none is recorded. By itself it is nobody's parent."""

    __slots__ = ("_attributes", "_kind", "_name", "_parent", "_start", "child", "index", "recording")

    def __init__(self, kind: Kind, name: str, attributes: Attributes | None = None) -> None:
        self.recording = recording = current_recording()
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
        start, status = self._start - recording.origin, status_of(error)
        recording.add(
            Recorded(
                self.index, self._parent, self._kind, self._name, start, duration, status, self.child, self._attributes
            )
        )


class span:  # noqa: N801 - it reads as a statement: `with span(Kind.POSTGRES, "SELECT agents"):`
    """Record what happens inside as one span of the request in progress, and as the parent of spans inside it."""

    __slots__ = ("_attributes", "_kind", "_name", "_open", "_outer")

    _outer: int

    def __init__(self, kind: Kind, name: str, attributes: Attributes | None = None) -> None:
        self._kind, self._name, self._attributes = kind, name, attributes

    def __enter__(self) -> None:
        self._open = OpenSpan(self._kind, self._name, self._attributes)
        if self._open.recording is not None:
            self._outer = _parent.get()
            _parent.set(self._open.index)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open.recording is not None:
            _parent.set(self._outer)  # no reset: a generator may be closed in another context than it began in
            self._open.end(error)


class TracingScope:
    """Times the whole call. Outermost, so that it sees the code that the caller will see."""

    __slots__ = ("_asked", "_call", "_export", "_recording", "_service")

    def __init__(self, call: Call, service: str, export: SpanExport) -> None:
        self._call = call
        self._service = service
        self._export = export

    async def __aenter__(self) -> None:
        metadata = self._call.metadata
        self._asked = ASK_KEY in metadata
        trace = extract(metadata.get("traceparent"), metadata.get("tracestate", ""))
        self._recording = begin(self._call.method, trace, self._asked or trace.sampled)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._recording is None:
            return
        outcome = self._call.ended(error)
        blob = self._recording.pack(self._service, outcome.code)
        if self._asked and outcome.heard:
            self._call.trailers.append((BLOB_KEY, blob))
        else:
            self._export.blob(self._recording.trace, blob)
