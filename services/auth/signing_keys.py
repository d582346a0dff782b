"""The keys that tokens are signed with: sealed in the database, shared by all replicas, and rotated under load."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from cryptography.exceptions import InvalidTag

from services.auth.audit import INSTALLATION, Entry, append
from services.auth.revocations import Revocations, of_signing_key
from services.auth.sealing import Keyring
from services.auth.store import signing_keys as rows
from services.auth.tokens import SigningKey, Tokens
from services.runtime.errors import DomainError, LastSigningKey, SigningKeyNotFound
from services.runtime.postgres import Database, Row, Statements

PURPOSE = "signing key"
RELOAD_SECONDS = 2.0
"""How old what a replica knows may be."""
FRESH_SECONDS = 1.0
"""How old it may be where a verifier asks for the key set, which it does when it meets a key that it does not know."""
ANSWER_SECONDS = 1.0
SLACK_SECONDS = 60
"""A replica may sign with the old key for as long as it has not reloaded, and clocks differ."""
DAY_SECONDS = 86_400
PUBLISHED = {"next", "signing", "verifying"}
OURSELVES = Entry("", "service:auth", "service")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Life:
    """How long keys do what."""

    token_seconds: int = 600
    notice_seconds: int = 90
    """For how long a new key is published before it signs."""
    rotation_days: int = 0
    """For how long it signs; 0 for ever."""


class SealedOtherwise(Exception):
    """The installation's secret does not open a key that is in the database."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"ENCRYPTION_SECRET does not open signing key {key_id}: it is not the secret that the key was sealed with. "
            "Put that one back; where it is lost, delete the rows of auth.signing_keys, and all users log in again."
        )


class SigningKeys:
    """The rules of signing keys; what they come to is told to `tokens`."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        tokens: Tokens,
        revocations: Revocations,
        life: Life | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._tokens = tokens
        self._life = life or Life()
        self._clock = clock
        self._revocations = revocations
        self._reloading = asyncio.Lock()
        self._reloaded = float("-inf")

    async def load(self) -> None:
        """Make the first key where there is none, and seal what lies open, once, however many replicas start at once.

        A key that lay open is in old backups, so that another takes its place. Raises SealedOtherwise.
        """
        async with self._database.all_tenants() as statements:
            found = await self._locked(statements)
            if not any(row["state"] in PUBLISHED for row in found):
                await self._insert(statements, "signing_key.create", OURSELVES, 0)
            if [await self._seal(statements, row) for row in found if row["private_key"]]:
                await self._next(statements, found, OURSELVES)
            await rows.raise_token_seconds(statements, self._life.token_seconds)
        await self.reload()

    async def reload(self) -> Sequence[Row]:
        """Sign with, and publish, what the database says. Raises SealedOtherwise."""
        async with self._database.all_tenants(read_only=True) as statements:
            found = await rows.select(statements, SLACK_SECONDS)
        self._reloaded = now = self._clock()
        if published := [row for row in found if row["state"] in PUBLISHED and row["sealed_key"]]:
            self._tokens.use(self._opened(published, now))
        return found

    async def key_set(self) -> str:
        """RFC 7517 JSON that is at most a second old, or as old as the database is away."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._reloading:
                if self._clock() - self._reloaded > FRESH_SECONDS:
                    await self.reload()
        except (DomainError, SealedOtherwise, TimeoutError) as error:
            log.warning("signing keys could not be reloaded", reason=str(error))
        return self._tokens.key_set()

    async def keep(self) -> None:
        """Without end: know what other replicas did, rotate when it is time, and delete what has had its time."""
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                await self._tend(await self.reload())
            except Exception as error:  # whatever it is, keys must not stand still for good
                log.warning("signing keys could not be kept", error=repr(error))

    async def rotate(self, by: Entry) -> tuple[Row, bool]:
        """The key that signs next, and whether it was made now. One that waits already is the answer, too."""
        async with self._database.all_tenants() as statements:
            found = await self._locked(statements)
            created = await self._next(statements, found, by)
            found = await rows.select(statements, SLACK_SECONDS)
        await self.reload()
        return _in(found, "next"), created

    async def revoke(self, key_id: str, replace: bool, by: Entry) -> Row:
        """Take a key out of the key set for ever. Raises SigningKeyNotFound, and LastSigningKey unless replaced."""
        async with self._database.all_tenants() as statements:
            state = _named(await self._locked(statements), key_id)["state"]
            if state == "signing":
                await self._replace(statements, replace, by)
            if state != "revoked":
                await rows.revoke(statements, key_id)
                await self._revocations.revoke(statements, of_signing_key(key_id))
                await _note(statements, by, "signing_key.revoke", key_id)
            revoked = _named(await rows.select(statements, SLACK_SECONDS), key_id)
        await self.reload()
        return revoked

    async def _locked(self, statements: Statements) -> Sequence[Row]:
        await rows.lock(statements)
        return await rows.select(statements, SLACK_SECONDS)

    async def _next(self, statements: Statements, found: Sequence[Row], by: Entry) -> bool:
        """Whether there was no next key, so that one was made."""
        if any(row["state"] == "next" for row in found):
            return False
        await self._insert(statements, "signing_key.rotate", by, self._life.notice_seconds)
        return True

    async def _replace(self, statements: Statements, wanted: bool, by: Entry) -> None:
        if not wanted:
            raise LastSigningKey
        await self._insert(statements, "signing_key.replace", by, 0)

    async def _insert(self, statements: Statements, action: str, by: Entry, signs_in: int) -> None:
        new = SigningKey.generate()
        sealed = self._keyring.sealed(new.private_bytes(), PURPOSE, new.key_id)
        await rows.insert(statements, new.key_id, sealed, self._life.token_seconds, signs_in)
        await _note(statements, by, action, new.key_id)

    async def _seal(self, statements: Statements, row: Row) -> str:
        key = SigningKey.of_pem(row["key_id"], row["private_key"])
        sealed = self._keyring.sealed(key.private_bytes(), PURPOSE, key.key_id)
        await rows.seal(statements, key.key_id, sealed)
        await _note(statements, OURSELVES, "signing_key.seal", key.key_id)
        return key.key_id

    def _opened(self, published: Sequence[Row], now: float) -> Sequence[SigningKey]:
        """Those that were sealed by us: one that was not, among others, was put there by someone else."""
        keys = [key for row in published if (key := self._key(row, now))]
        if not keys:
            raise SealedOtherwise(published[0]["key_id"])
        return keys

    def _key(self, row: Row, now: float) -> SigningKey | None:
        key_id = row["key_id"]
        try:
            private = self._keyring.opened(row["sealed_key"], PURPOSE, key_id)
        except InvalidTag:
            log.error("a signing key does not open", key_id=key_id)
            return None
        return SigningKey.of_bytes(key_id, private, now + row["signs_in"])

    async def _tend(self, found: Sequence[Row]) -> None:
        if not any(row["state"] == "signing" for row in found):
            await self.load()  # someone deleted the rows
        if any(row["state"] == "ended" for row in found):
            await self._delete_ended()
        if self._is_due(found):
            await self.rotate(OURSELVES)

    def _is_due(self, found: Sequence[Row]) -> bool:
        limit = self._life.rotation_days * DAY_SECONDS
        signing = [row for row in found if row["state"] in ("signing", "next")]
        return limit > 0 and len(signing) == 1 and signing[0]["signs_in"] < -limit

    async def _delete_ended(self) -> None:
        async with self._database.all_tenants() as statements:
            ended = [row["key_id"] for row in await self._locked(statements) if row["state"] == "ended"]
            await rows.delete(statements, ended)
            for key_id in ended:
                await _note(statements, OURSELVES, "signing_key.delete", key_id)


def _in(found: Sequence[Row], state: str) -> Row:
    return next(row for row in found if row["state"] == state)


def _named(found: Sequence[Row], key_id: str) -> Row:
    for row in found:
        if row["key_id"] == key_id:
            return row
    raise SigningKeyNotFound(key_id)


async def _note(statements: Statements, by: Entry, action: str, key_id: str) -> None:
    entry = Entry(action, by.actor, by.actor_type, target=key_id, address=by.address)
    await append(statements, INSTALLATION, entry)
