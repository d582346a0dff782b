"""Points on their way to the database: in the binary form of COPY, in memory while they are few, else on disk.

So a stream takes no connection before its end, however slow the caller is. It could also not write to the database
meanwhile: a transaction that goes on for long holds up every reader of an event feed (services/runtime/events.py).
"""

import itertools
from collections.abc import Iterable
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, NamedTuple, Self, cast
from uuid import UUID

import orjson

from services.runtime.errors import TooLarge

MEMORY_BYTES = 16 * 1024 * 1024
MAX_BYTES = 4 * 1024 * 1024 * 1024
SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""With no flags and no extension; https://www.postgresql.org/docs/18/sql-copy.html."""
END = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
JSONB_VERSION = b"\x01"


class Point(NamedTuple):
    """A point to be stored; the embedding in pgvector's binary form."""

    point_id: UUID
    document_id: str | None
    start_offset: int | None
    end_offset: int | None
    text: str
    metadata: dict[str, Any]
    embedding: bytes


COLUMNS = ("ordinal", *Point._fields)


class Spool:
    """Rows of the staging table, numbered in the order in which they were added."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._file = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed by __exit__
        self._file.write(SIGNATURE)
        self._ordinals = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, points: Iterable[Point]) -> None:
        """Add points. Raises TooLarge."""
        self._file.writelines(_row(next(self._ordinals), point) for point in points)
        if self._file.tell() > self._max_bytes:
            raise TooLarge(f"the points are more than {self._max_bytes:,} bytes")

    def source(self) -> BinaryIO:
        """What COPY reads. Nothing can be added after it was asked for."""
        self._file.write(END)
        self._file.seek(0)
        return cast(BinaryIO, self._file)


def _row(ordinal: int, point: Point) -> bytes:
    fields = (
        ordinal.to_bytes(8),
        point.point_id.bytes,
        None if point.document_id is None else point.document_id.encode(),
        None if point.start_offset is None else point.start_offset.to_bytes(4),
        None if point.end_offset is None else point.end_offset.to_bytes(4),
        point.text.encode(),
        JSONB_VERSION + orjson.dumps(point.metadata),
        point.embedding,
    )
    return len(fields).to_bytes(2) + b"".join(
        NULL if field is None else len(field).to_bytes(4) + field for field in fields
    )
