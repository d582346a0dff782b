"""The blob in which a service's spans ride home with its answer, in the trailer `x-spans-bin`.

msgpack of `[version, service, method, base id, duration, status, dropped, spans, loop lag]`, each span being
`[index, parent index, kind, name, start, duration, status, child blob or nil, attributes or nil, loop lag]`. Times are
whole microseconds since the call began in that process. The id of a span is `base id + index` modulo 2^64; index 0 is
the call itself, which the other fields of the blob describe. A child blob is what the callee of a CLIENT span sent,
unopened. The loop lag of a blob is how long the call waited for the callee's event loop before it began, that of a
CLIENT span how long its answer waited for the caller's.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, NamedTuple, TypeAlias

import msgspec

VERSION = 2
MAX_BYTES = 3_584
MAX_SPANS = 64
MAX_NESTING = 8
MAX_ID = 0xFFFF_FFFF_FFFF_FFFF
OK = 0
ASK_KEY = "x-spans"
BLOB_KEY = "x-spans-bin"
KIND_ATTRIBUTE = "neurectomy.kind"
LOOP_LAG = "neurectomy.loop_lag_ns"
"""How a Span's kind and lag travel as attributes of OpenTelemetry."""
DROPPED = "neurectomy.spans.dropped"
"""How many spans of a call did not fit into its blob: an attribute of its span."""

Attributes: TypeAlias = dict[str, str | int | float | bool]
Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""What is read is added up, and must neither be less than nothing nor pass 64 bits: a year has 2^45 microseconds."""


class Kind(IntEnum):
    """What the time of a span was spent on."""

    INTERNAL = 0
    CLIENT = 1
    SERVER = 2
    POSTGRES = 3
    NEO4J = 4
    REDIS = 5
    POOL_WAIT = 6
    EMBEDDING = 7
    FOLLOWS = 8
    FIELD = 9
    """A GraphQL field that waited, beside what it waited for."""


class Recorded(NamedTuple):
    """A span as its process recorded it, and as it stands in a blob; times in whole microseconds."""

    number: int
    parent: int
    kind: int
    name: str
    start: Natural
    duration: Natural
    status: int = OK
    child: bytes | None = None
    attributes: Attributes | None = None
    lag: Natural = 0


# A Struct, since 25 of these are made for a request: it is made in a fifth of a NamedTuple's time, and read in half.
class Span(msgspec.Struct, frozen=True, gc=False):
    """A span of an assembled trace; times in nanoseconds on the clock of whoever assembled it.

    The ids of one trace are all integers, as ours are, or all strings.
    """

    span_id: int | str
    parent_id: int | str | None
    service: str
    kind: int
    """A Kind, or the plain integer of the same value."""
    name: str
    start: int
    end: int
    status: int = OK
    attributes: Attributes | None = None
    peer: str = ""
    """Of a CLIENT span: the service it called."""
    lag: int = 0
    """Of a SERVER span: how long, until it began, the call waited for the callee's event loop; of a CLIENT span: how
    long, until it ended, the answer waited for the caller's. Both lie between the two spans."""


class Blob(msgspec.Struct, array_like=True, frozen=True):
    """What a service said of a call, decoded."""

    version: int
    service: str
    method: str
    base: Annotated[int, msgspec.Meta(ge=0)]
    duration: Natural
    status: int
    dropped: Natural
    spans: list[Recorded]
    lag: Natural


_CLIENT, _SERVER = int(Kind.CLIENT), int(Kind.SERVER)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Blob).decode


def pack(
    service: str,
    method: str,
    base: int,
    duration: int,
    status: int,
    dropped: int,
    spans: Sequence[Recorded],
    lag: int = 0,
) -> bytes:
    """The blob, of at most 3,584 bytes: past that children lose their insides, then the shortest spans go.

    `duration` and `lag` in microseconds.
    """
    blob = _encode((VERSION, service, method, base, duration, status, dropped, spans, lag))
    return blob if len(blob) <= MAX_BYTES else _shrunk(blob)


def _shrunk(data: bytes) -> bytes:
    blob = _decode(data)
    spans, dropped = blob.spans, blob.dropped
    while len(data) > MAX_BYTES:
        dropped += _shrink(spans)
        data = _encode(msgspec.structs.replace(blob, spans=spans, dropped=dropped))
    return data


def _shrink(spans: list[Recorded]) -> int:
    """Make the largest child a bare header or, where none is left to shrink, drop the shortest span."""
    largest = max(range(len(spans)), key=lambda at: len(spans[at].child or b""))
    header = _header(spans[largest].child)
    if header is not None:
        spans[largest] = spans[largest]._replace(child=header)
        return 0
    gone = spans.pop(min(range(len(spans)), key=lambda at: spans[at].duration))
    return 1 + inside(gone.child)


def inside(child: bytes | None) -> int:
    """How many spans go with a CLIENT span that is dropped: those that its callee sent home, or had dropped already."""
    blob = None if child is None else read(child)
    return 0 if blob is None else 1 + blob.dropped + sum(1 + inside(span.child) for span in blob.spans)


def _header(child: bytes | None) -> bytes | None:
    """The child without its spans, or None when that makes it no smaller."""
    blob = None if child is None else read(child)
    if blob is None or not blob.spans:
        return None
    return _encode(msgspec.structs.replace(blob, dropped=inside(child) - 1, spans=[]))


def read(data: bytes) -> Blob | None:
    """The blob, or None where it is none of a version known here."""
    try:
        blob = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return blob if blob.version == VERSION else None


def unpack(data: bytes, parent_id: int, start: int, duration: int) -> list[Span]:
    """The spans of a blob and of those inside it, parents first; none where it cannot be read.

    A callee's clock says nothing here, so its call is placed in the caller's client span, given by its id, start and
    duration in nanoseconds: in the middle, where it has waited for no event loop.
    """
    spans: list[Span] = []
    blob = read(data)
    if blob is not None:
        _add_call(spans, blob, parent_id, start, duration, 0, 1)
    return spans


def add_span(spans: list[Span], base: int, service: str, span: Recorded, begin: int, nesting: int = 0) -> None:
    """Add a recorded span and what its callee sent home; `begin` is when its process's call began, in nanoseconds."""
    index, parent, kind, name, start, duration, status, child, attributes, lag = span
    own_id, first, length = (base + index) & MAX_ID, begin + start * 1_000, duration * 1_000
    parent_id, last = (base + parent) & MAX_ID, first + length
    if kind != _CLIENT:
        spans.append(Span(own_id, parent_id, service, kind, name, first, last, status, attributes))
        return
    blob = read(child) if child is not None and nesting < MAX_NESTING else None
    after = lags(blob, length, lag * 1_000)[1] if lag and blob is not None else 0
    spans.append(Span(own_id, parent_id, service, kind, name, first, last, status, attributes, peer_of(name), after))
    if blob is not None:
        _add_call(spans, blob, own_id, first, length, lag * 1_000, nesting + 1)


def _add_call(
    spans: list[Span], blob: Blob, parent_id: int, start: int, duration: int, caller_lag: int, nesting: int
) -> None:
    before, after = lags(blob, duration, caller_lag)
    base, service, length = blob.base, blob.service, blob.duration * 1_000
    begin = start + before + (duration - length - before - after) // 2
    end, status = begin + length, blob.status
    attributes: Attributes | None = {DROPPED: blob.dropped} if blob.dropped else None
    spans.append(Span(base, parent_id, service, _SERVER, blob.method, begin, end, status, attributes, "", before))
    for span in blob.spans:
        add_span(spans, base, service, span, begin, nesting)


def lags(blob: Blob, duration: int, caller: int) -> tuple[int, int]:
    """How much of the time that a call took beyond its callee's was waited for the callee's and the caller's loop."""
    callee = blob.lag * 1_000
    if not callee + caller:
        return 0, 0
    slack = duration - blob.duration * 1_000
    if callee + caller <= slack:
        return callee, caller
    if slack <= 0:
        return 0, 0
    before = slack * callee // (callee + caller)
    return before, slack - before


def span_id(base: int, index: int) -> int:
    """The 64-bit id of a span from its process's base id for the call."""
    return (base + index) & MAX_ID


@lru_cache(1_024)
def peer_of(method: str) -> str:
    """`graph` of `/neurectomy.graph.v1.GraphService/BatchTraverse`; nothing of a method that is not ours."""
    return method.split(".", 2)[1] if method.startswith("/neurectomy.") else ""
