"""API keys: made, seen, rotated, revoked, and what each may do now."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from services.auth import permissions
from services.auth.audit import append
from services.auth.key_format import digest
from services.auth.key_making import FAR_FUTURE, NAME, NewKey, entry, insert, known, maker, scopes_within
from services.auth.key_uses import KeyUses
from services.auth.origin import Origin
from services.auth.revocations import Revocations, of_api_key
from services.auth.store import api_keys as rows
from services.runtime.caller import Principal
from services.runtime.errors import ApiKeyNotFound, InvalidFields, TokenExpired, TokenInvalid, TokenRevoked
from services.runtime.fields import as_uuid, check
from services.runtime.postgres import Database, Row, Statements

DEFAULT_OVERLAP, MAX_OVERLAP = 86_400, 604_800
"""For how many seconds a key and the one in its place both work."""


class ApiKeys:
    """The rules of keys for scripts."""

    def __init__(
        self, database: Database, revocations: Revocations, uses: KeyUses, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._revocations = revocations
        self._uses = uses
        self._clock = clock

    async def create(
        self, caller: Principal, name: str, scopes: Sequence[str], expires_at: datetime | None, origin: Origin
    ) -> NewKey:
        """A new key. Raises InvalidFields, PermissionMissing and TokenRevoked."""
        check({"name": name, "scopes": scopes}, {"name": NAME, "scopes": known})
        if expires_at is not None and expires_at <= self._now():
            raise InvalidFields(expire_time="must be in the future")
        granted = scopes_within(caller.permissions, frozenset(scopes))
        async with self._changing(caller) as statements:
            by = await maker(statements, caller, origin)
            return await insert(statements, by, name, granted, expires_at, "api_key.create")

    async def list(self, caller: Principal) -> Sequence[Row]:
        """Those of the organization, the newest first."""
        async with self._database.tenant(caller.tenant, read_only=True) as statements:
            return await rows.all_of(statements, caller.tenant)

    async def revoke(self, caller: Principal, api_key_id: str, origin: Origin) -> Row:
        """End a key and those made with it; returns it as it is then. Raises ApiKeyNotFound."""
        known_id = as_uuid(api_key_id)
        async with self._changing(caller) as statements:
            revoked = await rows.revoke(statements, known_id) if known_id else []
            row = await rows.one(statements, known_id) if known_id else None
            if row is None:
                raise ApiKeyNotFound(api_key_id)
            for each in sorted(revoked):
                await append(statements, caller.tenant, entry("api_key.revoke", caller, each, origin))
                await self._revocations.revoke(statements, of_api_key(caller.tenant, each))
        return row

    async def rotate(
        self, caller: Principal, api_key_id: str, overlap_seconds: int, origin: Origin
    ) -> tuple[NewKey, Row]:
        """A key in another one's place, and that one. Raises ApiKeyNotFound, InvalidFields, PermissionMissing and
        TokenRevoked."""
        if not 0 <= overlap_seconds <= MAX_OVERLAP:
            raise InvalidFields(overlap_seconds=f"must be 0 to {MAX_OVERLAP:,}")
        known_id = as_uuid(api_key_id)
        async with self._changing(caller) as statements:
            old = await rows.one(statements, known_id) if known_id else None
            if old is None:
                raise ApiKeyNotFound(api_key_id)
            if old["revoked_at"] or old["expired"]:
                raise InvalidFields(id="is of a key that has ended")
            granted = scopes_within(caller.permissions, frozenset(old["scopes"])) if old["scopes"] else frozenset()
            by = await maker(statements, caller, origin)
            new = await insert(statements, by, old["name"], granted, self._as_long(old), "api_key.rotate", old)
            old = await rows.end_after(statements, old["api_key_id"], overlap_seconds)
            await self._revocations.revoke(statements, of_api_key(caller.tenant, old["api_key_id"]))
        return new, old

    @asynccontextmanager
    async def _changing(self, caller: Principal) -> AsyncIterator[Statements]:
        async with self._database.tenant(caller.tenant) as statements:
            await rows.lock(statements, caller.tenant)
            yield statements

    def _as_long(self, old: Row) -> datetime | None:
        return self._now() + old["lifetime"] if old["lifetime"] else None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    async def principal(self, key: str) -> Principal:
        """Whom an API key stands for, and what it may do now. Raises TokenInvalid, TokenExpired and TokenRevoked."""
        sha256 = digest(key)
        async with self._database.all_tenants(read_only=True) as statements:
            row = await rows.by_hash(statements, sha256)
        if row is None:
            raise TokenInvalid
        if row["revoked_at"]:
            raise TokenRevoked
        expires = (row["expires_at"] or FAR_FUTURE).timestamp()
        if expires <= self._clock():
            raise TokenExpired
        self._uses.note(row["api_key_id"])
        return Principal(str(row["api_key_id"]), "api_key", row["organization_id"], _allowed(row), "", expires)


def _allowed(row: Row) -> frozenset[str]:
    """What of the scopes whoever answers for the key has now: nothing after they left."""
    return permissions.within(frozenset(row["scopes"]), permissions.of(row)) if row["role"] else frozenset()
