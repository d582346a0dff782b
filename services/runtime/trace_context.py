"""Which trace a request belongs to: W3C Trace Context and Baggage, in and out."""

import random
import re
from typing import Any

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


class UnreadTrace(TraceContext):
    """What `extract` makes of the same headers, once anyone asks: a call that neither calls nor logs never does."""

    __slots__ = ("_headers",)

    def __init__(self, traceparent: str | None, tracestate: str = "", baggage: str = "") -> None:
        self._headers = traceparent, tracestate, baggage

    def __getattr__(self, name: str) -> Any:
        """Of a slot that nothing has been put into yet."""
        if name not in TraceContext.__slots__:
            raise AttributeError(name)
        read = extract(*self._headers)
        for slot in TraceContext.__slots__:
            setattr(self, slot, getattr(read, slot))
        return getattr(self, name)


def new_trace_id() -> str:
    """32 random hexadecimal digits, not all of them zero."""
    return f"{random.getrandbits(128) | 1:032x}"


def extract(traceparent: str | None, tracestate: str = "", baggage: str = "") -> TraceContext:
    """The caller's trace context, or that of a new trace where it has none or a malformed one.

    Of versions to come the first four fields are read, as the recommendation says; `tracestate` over 512 characters
    and `baggage` over 8,192 are dropped. Baggage needs no trace.
    """
    baggage = baggage and _carried(baggage, MAX_BAGGAGE)
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None or (match["more"] is not None and match["version"] == "00"):
        return TraceContext(new_trace_id(), baggage=baggage)
    _, trace_id, parent_id, flags, _ = match.groups()
    state = tracestate and _carried(tracestate, MAX_STATE)
    return TraceContext(trace_id, int(parent_id, 16), bool(int(flags, 16) & 1), state, baggage)


def _carried(value: str, limit: int) -> str:
    """The value, or nothing where it is too long or holds what gRPC cannot carry: one odd byte would fail the call."""
    return value if len(value) <= limit and value.isascii() and value.isprintable() else ""


def traceparent(trace: TraceContext, span_id: int) -> str:
    """The header that makes a span the parent of what a callee does."""
    return f"00-{trace.trace_id}-{span_id:016x}-{'01' if trace.sampled else '00'}"
