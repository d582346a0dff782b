"""The blob in which a service's spans ride home with its answer, in the trailer `x-spans-bin`.

msgpack of `[version, service, method, base id, duration, status, dropped, spans]`, each span being
`[index, parent index, kind, name, start, duration, status, child blob or nil, attributes or nil]`. Times are whole
microseconds since the call began in that process. The id of a span is `base id + index` modulo 2^64; index 0 is the
call itself, which the first seven fields describe. A child blob is what the callee of a CLIENT span sent, unopened.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

VERSION = 1
MAX_BYTES = 3_584
MAX_SPANS = 64
MAX_NESTING = 8
OK = 0

Attributes = Mapping[str, str | int | float | bool]


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


class Recorded(NamedTuple):
    """A span as its process recorded it; times in nanoseconds since the call began there."""

    number: int
    parent: int
    kind: int
    name: str
    start: int
    duration: int
    status: int = OK
    child: bytes | None = None
    attributes: Attributes | None = None


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


class _Span(msgspec.Struct, array_like=True, frozen=True, gc=False):
    index: int
    parent: int
    kind: int
    name: str
    start: int
    duration: int
    status: int
    child: bytes | None
    attributes: dict[str, str | int | float | bool] | None


class _Blob(msgspec.Struct, array_like=True, frozen=True):
    version: int
    service: str
    method: str
    base: int
    duration: int
    status: int
    dropped: int
    spans: list[_Span]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Blob).decode


def pack(
    service: str, method: str, base: int, duration: int, status: int, dropped: int, spans: Sequence[Recorded]
) -> bytes:
    """The blob, of at most 3,584 bytes: past that children lose their insides, then the shortest spans go."""
    kept = [_microseconds(span) for span in spans]
    while True:
        blob = _encode((VERSION, service, method, base, duration // 1_000, status, dropped, kept))
        if len(blob) <= MAX_BYTES:
            return blob
        dropped += _shrink(kept)


def _microseconds(span: Recorded) -> _Span:
    index, parent, kind, name, start, duration, status, child, attributes = span
    copy = None if attributes is None else dict(attributes)
    return _Span(index, parent, kind, name, start // 1_000, duration // 1_000, status, child, copy)


def _shrink(spans: list[_Span]) -> int:
    """Make the largest child a bare header or, where none is left to shrink, drop the shortest span."""
    largest = max(range(len(spans)), key=lambda at: len(spans[at].child or b""))
    header = _header(spans[largest].child)
    if header is not None:
        spans[largest] = msgspec.structs.replace(spans[largest], child=header)
        return 0
    gone = spans.pop(min(range(len(spans)), key=lambda at: spans[at].duration))
    return 1 + inside(gone.child)


def inside(child: bytes | None) -> int:
    """How many spans go with a CLIENT span that is dropped: those that its callee sent home, or had dropped already."""
    blob = None if child is None else _read(child)
    return 0 if blob is None else 1 + blob.dropped + sum(1 + inside(span.child) for span in blob.spans)


def _header(child: bytes | None) -> bytes | None:
    """The child without its spans, or None when that makes it no smaller."""
    blob = None if child is None else _read(child)
    if blob is None or not blob.spans:
        return None
    return _encode(msgspec.structs.replace(blob, dropped=inside(child) - 1, spans=[]))


def _read(data: bytes) -> _Blob | None:
    """The blob, or None where it is none of a version known here."""
    try:
        blob = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return blob if blob.version == VERSION else None


def unpack(data: bytes, parent_id: int, start: int, duration: int, nesting: int = 1) -> Iterator[Span]:
    """The spans of a blob and of those inside it, parents first, or nothing where it cannot be read.

    A callee's clock says nothing here, so its call is centred in the caller's client span, given by its id, start and
    duration in nanoseconds.
    """
    blob = _read(data) if nesting <= MAX_NESTING else None
    if blob is None:
        return
    begin = start + (duration - blob.duration * 1_000) // 2
    end = begin + blob.duration * 1_000
    attributes: dict[str, Any] | None = {"neurectomy.spans.dropped": blob.dropped} if blob.dropped else None
    yield Span(blob.base, parent_id, blob.service, Kind.SERVER, blob.method, begin, end, blob.status, attributes)
    for span in blob.spans:
        yield from _unpack_span(blob, span, begin, nesting)


def _unpack_span(blob: _Blob, span: _Span, begin: int, nesting: int) -> Iterator[Span]:
    own_id, parent_id = span_id(blob.base, span.index), span_id(blob.base, span.parent)
    start, duration = begin + span.start * 1_000, span.duration * 1_000
    end, status = start + duration, span.status
    peer = peer_of(span.name) if span.kind == Kind.CLIENT else ""
    yield Span(own_id, parent_id, blob.service, span.kind, span.name, start, end, status, span.attributes, peer)
    if span.child is not None:
        yield from unpack(span.child, own_id, start, duration, nesting + 1)


def span_id(base: int, index: int) -> int:
    """The 64-bit id of a span from its process's base id for the call."""
    return (base + index) & 0xFFFF_FFFF_FFFF_FFFF


def peer_of(method: str) -> str:
    """`graph` of `/neurectomy.graph.v1.GraphService/BatchTraverse`; nothing of a method that is not ours."""
    return method.split(".", 2)[1] if method.startswith("/neurectomy.") else ""
