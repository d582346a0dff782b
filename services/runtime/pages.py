"""Pages of a list. A token says behind which row the next page begins, and is good for that list only."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar

from services.runtime.errors import PageTokenInvalid
from services.runtime.fields import number
from services.runtime.postgres import Row

DEFAULT_SIZE, MOST = 50, 1_000
SIZE = number(0, MOST)
SEAL_BYTES = 8
LONGEST_TOKEN = 100

T = TypeVar("T")


def encode(listing: str, last: bytes) -> str:
    """The token for the rows behind the last one of a page."""
    return urlsafe_b64encode(_seal(listing, last) + last).decode().rstrip("=")


def decode(listing: str, token: str, read: Callable[[bytes], T]) -> T:
    """The row that a page begins behind. Raises PageTokenInvalid for a token of another list."""
    try:
        raw = urlsafe_b64decode(token[:LONGEST_TOKEN] + "=" * (-len(token) % 4))
        seal, last = raw[:SEAL_BYTES], raw[SEAL_BYTES:]
        if seal != _seal(listing, last):
            raise PageTokenInvalid
        return read(last)
    except ValueError as error:
        raise PageTokenInvalid from error


def _seal(listing: str, last: bytes) -> bytes:
    """What ties a token to its list. It keeps out mistakes, not attackers: row-level security does that."""
    return blake2b(listing.encode() + last, digest_size=SEAL_BYTES).digest()


def cut(rows: list[Row], size: int, listing: str, place: Callable[[Row], bytes]) -> tuple[list[Row], str]:
    """A page and the next one's token, from its rows and one more where there is more."""
    page = rows[:size]
    return page, encode(listing, place(page[-1])) if len(rows) > size else ""
