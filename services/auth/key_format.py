"""What an API key looks like: `nrctmy_live_`, 43 random characters and a checksum, by which scanners know it."""

import hashlib
import re
import secrets
import zlib

from services.runtime.errors import TokenInvalid

PREFIX = "nrctmy_live_"
_SHAPE = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{43}})([0-9a-f]{{8}})")


def generate() -> str:
    """A new key with 256 random bits."""
    secret = secrets.token_urlsafe(32)
    return f"{PREFIX}{secret}{_checksum(secret)}"


def digest(key: str) -> bytes:
    """What is stored of a key, its SHA-256. Raises TokenInvalid for what cannot be one, without asking the database."""
    match = _SHAPE.fullmatch(key)
    if match is None or match[2] != _checksum(match[1]):
        raise TokenInvalid
    return hashlib.sha256(key.encode()).digest()


def shown_prefix(key: str) -> str:
    """The part of a key by which its owner recognises it in a list."""
    return key[: len(PREFIX) + 6]


def _checksum(secret: str) -> str:
    return f"{zlib.crc32(secret.encode()):08x}"
