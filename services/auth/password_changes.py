"""Passwords that are changed by their owner, and reset by a code that is sent to them."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.auth.attempts import Attempts
from services.auth.audit import INSTALLATION, Entry, append, append_everywhere
from services.auth.credentials import MAX_EMAIL, Credentials
from services.auth.ending import Cause, Ending
from services.auth.mail import Mail, when_and_where
from services.auth.origin import Origin
from services.auth.passwords import Passwords
from services.auth.store import accounts as account_rows
from services.auth.store import passwords as rows
from services.runtime.caller import Principal
from services.runtime.errors import CodeInvalid, CredentialsInvalid, InvalidFields, UserNotFound
from services.runtime.postgres import Database, Row, Statements

RESET_PREFIX = "nrctmy_reset_"
RESET_LIFETIME = timedelta(minutes=30)
NEW = "new_password"


@dataclass(frozen=True, slots=True)
class _Change:
    """What is done with every change, whoever makes it."""

    user_id: UUID
    action: str
    origin: Origin
    session_id: UUID | None = None
    """The one that goes on."""


class PasswordChanges:
    """The rules of changing a password."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        credentials: Credentials,
        attempts: Attempts,
        ending: Ending,
        mail: Mail,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._credentials = credentials
        self._attempts = attempts
        self._ending = ending
        self._mail = mail
        self._clock = clock

    async def change(self, principal: Principal, current: str, new: str, origin: Origin) -> None:
        """Raises UserNotFound, CredentialsInvalid, InvalidFields, TooManyAttempts and Overloaded."""
        user = await self._user(principal)
        async with self._attempts.attempt(user["email"], origin):
            await self._prove(principal, user, current, origin)
        password_hash = await self._passwords.hash(new, NEW)
        session_id = UUID(principal.session_id) if principal.session_id else None
        change = _Change(user["user_id"], "password.change", origin, session_id)
        async with self._database.all_tenants() as statements:
            if not await rows.change(statements, change.user_id, password_hash, user["password_hash"]):
                raise CredentialsInvalid  # someone else has changed it since
            await self._finish(statements, change, user["email"])

    async def request_reset(self, email: str, origin: Origin) -> None:
        """Send a code to an address. For nobody's the same is done, and nothing is sent. Raises TooManyAttempts."""
        if not 1 <= len(email) <= MAX_EMAIL:
            raise InvalidFields(email="must be an e-mail address")
        await self._attempts.deed("reset", origin)
        await self._attempts.reset(email)
        code = f"{RESET_PREFIX}{secrets.token_urlsafe(32)}"
        expires_at = self._now() + RESET_LIFETIME
        async with self._database.all_tenants() as statements:
            row = await account_rows.credentials(statements, email, None)
            await rows.insert_reset(statements, _sha256(code), row["user_id"] if row else None, expires_at)
            values = {"code": code, "minutes": str(RESET_LIFETIME // timedelta(minutes=1))}
            await self._mail.enqueue(statements, row["email"] if row else "", "password_reset", values, expires_at)
            entry = self._credentials.strangers("password.request_reset", email, row, origin)
            await append(statements, row["organization_id"] if row else INSTALLATION, entry)

    async def reset(self, code: str, new: str, origin: Origin) -> None:
        """Raises CodeInvalid, InvalidFields, TooManyAttempts and Overloaded."""
        sha256 = _sha256(code)
        if await self._owner(sha256) is None:
            await self._attempts.deed("code", origin)
            raise CodeInvalid
        password_hash = await self._passwords.hash(new, NEW)
        async with self._database.all_tenants() as statements:
            user_id = await rows.use_reset(statements, sha256)
            if user_id is None:
                raise CodeInvalid
            email = await rows.store(statements, user_id, password_hash)
            await self._finish(statements, _Change(user_id, "password.reset", origin), email)
        await self._attempts.succeeded(email, origin)

    async def _user(self, principal: Principal) -> Row:
        if principal.subject_type != "user":
            raise UserNotFound(principal.subject)
        async with self._database.all_tenants(read_only=True) as statements:
            user = await rows.user(statements, UUID(principal.subject))
        if user is None:
            raise UserNotFound(principal.subject)
        return user

    async def _prove(self, principal: Principal, user: Row, password: str, origin: Origin) -> None:
        """A stolen token must not be enough to guess on."""
        try:
            await self._passwords.check(password, user["password_hash"])
        except CredentialsInvalid:
            entry = Entry("password.fail", principal.subject, target=principal.subject, address=origin.address)
            await self._credentials.note(principal.tenant, entry)
            raise

    async def _owner(self, sha256: bytes) -> UUID | None:
        async with self._database.all_tenants(read_only=True) as statements:
            return await rows.reset(statements, sha256)

    async def _finish(self, statements: Statements, change: _Change, email: str) -> None:
        """The new password is alone: codes and sessions of before end, the user is told, and it is written down."""
        await rows.spoil_resets(statements, change.user_id)
        subject = str(change.user_id)
        cause = Cause("password", subject, "user", change.origin.address)
        ended = await self._ending.end_all_of(statements, change.user_id, None, cause, change.session_id)
        told = when_and_where(self._now(), change.origin.address)
        await self._mail.enqueue(statements, email, "password_changed", told)
        details = {"sessions_ended": str(ended)}
        entry = Entry(change.action, subject, target=subject, address=change.origin.address, details=details)
        await append_everywhere(statements, change.user_id, entry)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _sha256(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
