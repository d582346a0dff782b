"""Etags: each stands for one state of one thing."""

import re
from uuid import UUID
from zlib import crc32

NO_REVISION = 0


def etag_of(thing_id: UUID, revision: int) -> str:
    """Stands for one state of one thing."""
    return f"{revision:x}-{crc32(thing_id.bytes, revision & 0xFFFF_FFFF):08x}"


def revision_of(thing_id: UUID, etag: str) -> int:
    """The revision that an etag of this thing stands for; of any other text, one that none ever has."""
    match = re.fullmatch(r"([0-9a-f]{1,15})-[0-9a-f]{8}", etag)
    revision = int(match[1], 16) if match else NO_REVISION
    return revision if etag == etag_of(thing_id, revision) else NO_REVISION
