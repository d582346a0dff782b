"""A kept trace and a pool of them. Spans and log lines are packed, so that their size is known."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from services.runtime.span_wire import Span
from services.traces.critical_path import place
from services.traces.otlp import Line, is_own

MAX_SPANS = 10_000
MAX_LINES = 1_000
OVERHEAD = 150
"""Bytes that a packed span or line takes beside its own."""

_pack = msgspec.msgpack.Encoder().encode
_span = msgspec.msgpack.Decoder(Span).decode
_line = msgspec.msgpack.Decoder(Line).decode
_members = msgspec.msgpack.Decoder(tuple[list[bytes], list[bytes]]).decode


@dataclass(frozen=True, slots=True)
class Summary:
    """A kept trace in a line; `start` in nanoseconds since 1970, `duration` in nanoseconds."""

    trace_id: str
    operation: str
    start: int
    duration: int
    span_count: int
    failed: bool
    services: tuple[str, ...]


@dataclass(slots=True)
class Trace:
    """What is held of one trace."""

    trace_id: str
    arrived: float
    """When its first span came, in seconds since 1970."""
    own: bool = False
    """One of our own processes has a part in it."""
    size: int = 0
    _spans: dict[str, bytes] = field(default_factory=dict)
    _lines: dict[bytes, None] = field(default_factory=dict)
    _version: int = 0
    _summary: tuple[int, Summary] | None = None
    """And of which version of the spans it is."""

    def add_span(self, span: Span, max_size: int) -> bool:
        """Hold a span; one that comes twice counts once. False when there is no more room."""
        key, packed = str(span.span_id), _pack(span)
        grown = _weight(packed) - (_weight(self._spans[key]) if key in self._spans else 0)
        if (key not in self._spans and len(self._spans) >= MAX_SPANS) or self.size + grown > max_size:
            return False
        self._spans[key] = packed
        self.size += grown
        self.own = self.own or is_own(span)
        self._version += 1
        return True

    def add_line(self, packed: bytes, max_size: int) -> bool:
        """Hold a packed line; one that comes twice counts once. False when there is no more room."""
        if packed in self._lines:
            return True
        if len(self._lines) >= MAX_LINES or self.size + _weight(packed) > max_size:
            return False
        self._lines[packed] = None
        self.size += _weight(packed)
        return True

    @property
    def span_count(self) -> int:
        """How many spans are held."""
        return len(self._spans)

    @property
    def line_count(self) -> int:
        """How many log lines are held."""
        return len(self._lines)

    def spans(self) -> list[Span]:
        """In the order in which they came."""
        return [_span(packed) for packed in list(self._spans.values())]

    def lines(self) -> list[Line]:
        """The oldest first."""
        return sorted((_line(packed) for packed in list(self._lines)), key=lambda line: line.time)

    def summary(self) -> Summary:
        """Remembered until there is another span."""
        known, version = self._summary, self._version  # asked in a thread: spans may come meanwhile
        if known is None or known[0] != version:
            known = self._summary = version, _summary(self.trace_id, self.spans())
        return known[1]

    def pack(self) -> bytes:
        """All that is held."""
        return _pack((list(self._spans.values()), list(self._lines)))

    @classmethod
    def unpack(cls, trace_id: str, arrived: float, data: bytes) -> "Trace":
        """What `pack` gave. Raises ValueError for anything else."""
        try:
            return cls._of(trace_id, arrived, *_members(data))
        except msgspec.DecodeError as error:
            raise ValueError(f"not a trace: {error}") from error

    @classmethod
    def _of(cls, trace_id: str, arrived: float, spans: Iterable[bytes], lines: Iterable[bytes]) -> "Trace":
        trace = cls(trace_id, arrived)
        for packed in spans:
            span = _span(packed)
            trace._spans[str(span.span_id)] = packed
            trace.own = trace.own or is_own(span)
        trace._lines = dict.fromkeys(lines)
        trace.size = sum(map(_weight, (*trace._spans.values(), *trace._lines)))
        return trace


class Pool:
    """Traces that are held against the same number of bytes, in the order in which they came."""

    def __init__(self) -> None:
        self.traces: dict[str, Trace] = {}
        self.size = 0

    def add(self, trace: Trace) -> None:
        """Hold a trace."""
        self.traces[trace.trace_id] = trace
        self.size += trace.size

    def remove(self, trace: Trace) -> None:
        """Let a trace go."""
        del self.traces[trace.trace_id]
        self.size -= trace.size

    @property
    def line_count(self) -> int:
        """How many log lines are held."""
        return sum(trace.line_count for trace in list(self.traces.values()))

    def oldest(self) -> Trace | None:
        """The one that came first."""
        return next(iter(self.traces.values()), None)


def pack_line(line: Line) -> bytes:
    """As `add_line` takes it."""
    return _pack(line)


def _weight(packed: bytes) -> int:
    return len(packed) + OVERHEAD


def _summary(trace_id: str, spans: list[Span]) -> Summary:
    root = place(spans)[0]
    failed = any(span.status for span in spans)
    services = tuple(sorted({span.service for span in spans}))
    return Summary(trace_id, root.name, root.start, root.end - root.start, len(spans), failed, services)
