"""API keys: `nrctmy_live_`, 43 random characters and a checksum, by which scanners tell a key from look-alikes."""

import hashlib
import re
import secrets
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from services.auth.store import api_keys as rows
from services.runtime.caller import Principal, covers
from services.runtime.errors import InvalidFields, PermissionMissing, TokenExpired, TokenInvalid
from services.runtime.postgres import Database

PREFIX = "nrctmy_live_"
_SHAPE = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{43}})([0-9a-f]{{8}})")
MAX_NAME = 200
FAR_FUTURE = datetime(9999, 12, 31, tzinfo=UTC)


class ApiKeys:
    """The rules of keys for scripts."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self, creator: Principal, name: str, scopes: frozenset[str], expires_at: datetime | None
    ) -> tuple[UUID, str]:
        """The id of a new key, and the key itself. Raises InvalidFields and PermissionMissing."""
        if not 1 <= len(name) <= MAX_NAME:
            raise InvalidFields(name=f"must have 1 to {MAX_NAME} characters")
        if expires_at is not None and expires_at.timestamp() <= self._clock():
            raise InvalidFields(expire_time="must be in the future")
        granted = sorted(scopes_within(creator.permissions, scopes))
        api_key_id, key = uuid7(), generate()
        about = (api_key_id, creator.tenant, creator.subject, name, shown_prefix(key), digest(key), granted)
        async with self._database.tenant(creator.tenant) as statements:
            await rows.insert(statements, *about, expires_at)
        return api_key_id, key

    async def principal(self, key: str) -> Principal:
        """Whom an API key stands for. Raises TokenInvalid and TokenExpired."""
        sha256 = digest(key)
        async with self._database.all_tenants(read_only=True) as statements:
            row = await rows.by_hash(statements, sha256)
        if row is None:
            raise TokenInvalid
        expires = (row["expires_at"] or FAR_FUTURE).timestamp()
        if expires <= self._clock():
            raise TokenExpired
        permissions = frozenset(row["scopes"])
        return Principal(str(row["api_key_id"]), "api_key", row["organization_id"], permissions, "", expires)


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


def scopes_within(granted: frozenset[str], wanted: frozenset[str]) -> frozenset[str]:
    """The scopes of a new key: those wanted, or all that its creator has. Raises PermissionMissing for one beyond."""
    for scope in sorted(wanted):
        if not covers(granted, scope):
            raise PermissionMissing(scope)
    return wanted or granted


def _checksum(secret: str) -> str:
    return f"{zlib.crc32(secret.encode()):08x}"
