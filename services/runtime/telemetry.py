"""Spans of the request in progress: recorded as plain tuples, sent home with the answer."""

import random
from contextvars import ContextVar
from time import perf_counter_ns
from types import TracebackType
from typing import TypeAlias

from services.runtime import span_wire
from services.runtime.export import INSTANCE
from services.runtime.outcomes import UNKNOWN, status_of
from services.runtime.readable import ERROR_TYPE
from services.runtime.span_wire import MAX_SPANS, OK, Attributes, Recorded
from services.runtime.trace_context import TraceContext


class Recording:
    """The spans of one request in this process; times in whole microseconds since it began here."""

    __slots__ = ("base", "closed", "dropped", "indices", "lag", "method", "origin", "spans", "trace")

    def __init__(self, method: str, trace: TraceContext, lag: int = 0) -> None:
        self.method = method
        self.trace = trace
        self.base = INSTANCE << 32 | random.getrandbits(31)
        self.origin = perf_counter_ns()
        self.lag = lag
        """Microseconds that the request waited for this process's event loop."""
        self.spans: list[Recorded] = []
        self.dropped = 0
        self.closed = False
        """It has been handed on: what a task does that outlives its request is no part of it."""
        self.indices = 0
        """How many spans have begun."""

    def next_index(self) -> int:
        """The index of a span that begins now."""
        self.indices += 1
        return self.indices

    def add(self, span: Recorded) -> None:
        """Keep the span, or the longest 64 where there are more; none once the recording is closed."""
        if self.closed:
            return
        if len(self.spans) < MAX_SPANS:
            self.spans.append(span)
        else:
            self._crowd_out(span)

    def _crowd_out(self, span: Recorded) -> None:
        shortest = min(range(MAX_SPANS), key=lambda at: self.spans[at].duration)
        if self.spans[shortest].duration < span.duration:
            self.spans[shortest], span = span, self.spans[shortest]
        self.dropped += 1 + span_wire.inside(span.child)

    def elapsed(self) -> int:
        """Nanoseconds since the request began here."""
        return perf_counter_ns() - self.origin

    def pack(self, service: str, status: int) -> bytes:
        """The blob that goes home. Closes the recording."""
        self.closed = True
        duration = self.elapsed() // 1_000
        return span_wire.pack(service, self.method, self.base, duration, status, self.dropped, self.spans, self.lag)


_Place: TypeAlias = tuple[TraceContext | None, Recording | None, int]
_NOWHERE: _Place = (None, None, 0)
_place: ContextVar[_Place] = ContextVar("place", default=_NOWHERE)
"""The trace of the request in progress, its recording, and the index of the innermost span: one look-up for all."""


def current_recording() -> Recording | None:
    """The recording of the request in progress, if anyone asked for it."""
    recording = _place.get()[1]
    return None if recording is None or recording.closed else recording


def current_trace() -> TraceContext | None:
    """The trace of the request in progress."""
    return _place.get()[0]


def current_trace_id() -> str | None:
    """32 hexadecimal digits, or None outside a request."""
    trace = _place.get()[0]
    return trace.trace_id if trace else None


def current_span_id() -> int:
    """The id of the innermost span in progress, 0 where none is recorded."""
    _, recording, index = _place.get()
    return span_wire.span_id(recording.base, index) if recording else 0


def begin(method: str, trace: TraceContext, record: bool, lag: int = 0) -> Recording | None:
    """Make this task's request the one that spans are recorded for; `lag` in nanoseconds."""
    recording = Recording(method, trace, lag // 1_000) if record else None
    _place.set((trace, recording, 0))
    return recording


_recorded = tuple.__new__
"""Makes a NamedTuple of all its fields in a third of the time that its own constructor takes."""


def note(kind: int, name: str, began: int, error: BaseException | None = None) -> None:
    """Record a span in which no other can be, from when it began, by `time.perf_counter_ns`, until now.

    The least there is: statements are most of all spans, and this is done for each of each request.
    """
    _, recording, parent = _place.get()
    if recording is None or recording.closed:
        return
    origin = recording.origin
    start = (began - origin) // 1_000
    duration = (perf_counter_ns() - origin) // 1_000 - start
    status, attributes = (OK, None) if error is None else _ending(error, None)
    number = recording.indices = recording.indices + 1
    recorded = _recorded(Recorded, (number, parent, kind, name, start, duration, status, None, attributes, 0))
    if len(recording.spans) < MAX_SPANS:
        recording.spans.append(recorded)
    else:
        recording.add(recorded)


class leaf:  # noqa: N801 - as `span`, below
    """Record what happens inside as one span, in which no other can be: a third of what `span` costs."""

    __slots__ = ("_began", "_kind", "_name")

    def __init__(self, kind: int, name: str) -> None:
        self._kind, self._name = kind, name

    def __enter__(self) -> None:
        self._began = perf_counter_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        note(self._kind, self._name, self._began, error)


def _ending(error: BaseException, attributes: Attributes | None) -> tuple[int, Attributes | None]:
    """The status that an error means, and the attributes with the kind of an error that means none."""
    status = status_of(error)
    if status == UNKNOWN:
        attributes = {**(attributes or {}), ERROR_TYPE: type(error).__qualname__}
    return status, attributes


class OpenSpan:
    """A span from now until `end`; next to nothing where none is recorded. By itself it is nobody's parent."""

    __slots__ = ("_attributes", "_kind", "_name", "_parent", "_start", "child", "index", "lag", "recording", "trace")

    def __init__(self, kind: int, name: str, attributes: Attributes | None = None) -> None:
        self.trace, recording, self._parent = _place.get()
        if recording is None or recording.closed:
            self.recording: Recording | None = None
            return
        self.recording = recording
        self.child: bytes | None = None
        """What a callee sent home of itself."""
        self.lag = 0
        """Of a CLIENT span: nanoseconds that the answer waited for this process's event loop."""
        self._kind, self._name, self._attributes = kind, name, attributes
        self.index = recording.next_index()
        self._start = perf_counter_ns()

    def end(self, error: BaseException | None) -> None:
        """Record it, with the status that the error means."""
        recording = self.recording
        if recording is None:
            return
        origin, attributes, status = recording.origin, self._attributes, OK
        start = (self._start - origin) // 1_000
        duration = (perf_counter_ns() - origin) // 1_000 - start
        if error is not None:
            status, attributes = _ending(error, attributes)
        what = (self.index, self._parent, self._kind, self._name)
        recording.add(_recorded(Recorded, (*what, start, duration, status, self.child, attributes, self.lag // 1_000)))


class span:  # noqa: N801 - it reads as a statement: `with span(Kind.POSTGRES, "SELECT agents"):`
    """Record what happens inside as one span of the request in progress, and as the parent of spans inside it."""

    __slots__ = ("_attributes", "_kind", "_name", "_open", "_outer")

    _outer: _Place

    def __init__(self, kind: int, name: str, attributes: Attributes | None = None) -> None:
        self._kind, self._name, self._attributes = kind, name, attributes

    def __enter__(self) -> None:
        self._open = opened = OpenSpan(self._kind, self._name, self._attributes)
        if opened.recording is not None:
            self._outer = _place.get()
            _place.set((opened.trace, opened.recording, opened.index))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open.recording is not None:
            _place.set(self._outer)  # no reset: a generator may be closed in another context than it began in
            self._open.end(error)
