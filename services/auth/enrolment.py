"""Second factors as their users change them: an app is enrolled, recovery codes are renewed, all is forgotten."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.auth import one_time_codes
from services.auth.attempts import Attempts
from services.auth.audit import append, append_everywhere
from services.auth.ending import Cause, Ending
from services.auth.mail import Mail, when_and_where
from services.auth.one_time_codes import Code
from services.auth.passwords import Passwords
from services.auth.sealing import Keyring
from services.auth.second_factor import PURPOSE, Holder, SecondFactors
from services.auth.store import second_factor as rows
from services.runtime.errors import (
    CredentialsInvalid,
    InvalidFields,
    SecondFactorEnrolled,
    SecondFactorMissing,
    UserNotFound,
)
from services.runtime.postgres import Database, Row, Statements

LIFETIME = timedelta(minutes=10)
"""Of an enrolment that was begun."""


@dataclass(frozen=True, slots=True)
class State:
    """Since when a factor is on, if it is, and how many recovery codes are left."""

    enabled_at: datetime | None
    codes_left: int


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app is told, typed or by QR code."""

    secret: str
    uri: str


class Enrolments:
    """The rules of change. Each is told to the auditors of all of the user's organizations."""

    def __init__(
        self,
        database: Database,
        second_factors: SecondFactors,
        passwords: Passwords,
        keyring: Keyring,
        attempts: Attempts,
        ending: Ending,
        mail: Mail,
        issuer: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._second_factors = second_factors
        self._passwords = passwords
        self._keyring = keyring
        self._attempts = attempts
        self._ending = ending
        self._mail = mail
        self._issuer = issuer
        self._clock = clock

    async def state(self, holder: Holder) -> State:
        """What the user is shown of their factor."""
        async with self._database.tenant(holder.organization_id, read_only=True) as statements:
            row = await rows.state(statements, holder.user_id)
        return State(row["enabled_at"], row["codes_left"]) if row else State(None, 0)

    async def begin(self, holder: Holder, password: str) -> Enrolment:
        """Make a secret that nothing asks for yet. Raises SecondFactorEnrolled, CredentialsInvalid, TooManyAttempts."""
        account = await self._account(holder)
        if account["enabled_at"] is not None:
            raise SecondFactorEnrolled
        await self._check_password(holder, account, password)
        secret = one_time_codes.new_secret()
        sealed = self._keyring.sealed(secret.encode(), PURPOSE, str(holder.user_id))
        async with self._database.all_tenants() as statements:
            if not await rows.begin(statements, holder.user_id, sealed, self._now()):
                raise SecondFactorEnrolled
            await append_everywhere(statements, holder.user_id, holder.deed("second_factor.begin"))
        return Enrolment(secret, one_time_codes.uri(secret, self._issuer, account["email"]))

    async def confirm(self, holder: Holder, code: Code) -> list[str]:
        """Switch the factor on, end the user's other sessions, and return recovery codes.

        Raises SecondFactorMissing, SecondFactorEnrolled, SecondFactorInvalid, TooManyAttempts and InvalidFields.
        """
        _require_totp(code)
        async with self._second_factors.proved(holder, code, self._waiting) as statements:
            await rows.enable(statements, holder.user_id, self._now())
            codes = await _replace_codes(statements, holder)
            ended = await self._end_other_sessions(statements, holder)
            await self._send(statements, holder, "second_factor_on")
            await append_everywhere(
                statements, holder.user_id, holder.deed("second_factor.enable", sessions_ended=str(ended))
            )
        return codes

    async def regenerate(self, holder: Holder, code: Code) -> list[str]:
        """New recovery codes for a code of the app; a recovery code must not become ten.

        Raises SecondFactorMissing, SecondFactorInvalid, TooManyAttempts and InvalidFields.
        """
        _require_totp(code)
        async with self._second_factors.proved(holder, code, _enabled) as statements:
            codes = await _replace_codes(statements, holder)
            await append_everywhere(statements, holder.user_id, holder.deed("recovery_code.regenerate"))
        return codes

    async def disable(self, holder: Holder, password: str, code: Code) -> None:
        """Forget the factor. Raises SecondFactorMissing, CredentialsInvalid, SecondFactorInvalid, TooManyAttempts."""
        account = await self._account(holder)
        if account["enabled_at"] is None:
            raise SecondFactorMissing
        await self._check_password(holder, account, password)
        async with self._second_factors.proved(holder, code, _enabled) as statements:
            await rows.delete(statements, holder.user_id)
            await self._send(statements, holder, "second_factor_off")
            await append_everywhere(statements, holder.user_id, holder.deed("second_factor.disable"))

    async def _account(self, holder: Holder) -> Row:
        async with self._database.tenant(holder.organization_id, read_only=True) as statements:
            account = await rows.account(statements, holder.user_id)
        if account is None:
            raise UserNotFound(holder.user_id)
        return account

    async def _check_password(self, holder: Holder, account: Row, password: str) -> None:
        """As at a log-in: whoever has found an open session may not try passwords without end."""
        try:
            async with self._attempts.attempt(account["email"], holder.origin):
                await self._passwords.check(password, account["password_hash"])
        except CredentialsInvalid:
            async with self._database.tenant(holder.organization_id) as statements:
                await append(statements, holder.organization_id, holder.failure("password"))
            raise

    def _waiting(self, row: Row | None) -> Row:
        if row is not None and row["enabled_at"] is not None:
            raise SecondFactorEnrolled
        if row is None or self._now() - row["begun_at"] > LIFETIME:
            raise SecondFactorMissing
        return row

    async def _end_other_sessions(self, statements: Statements, holder: Holder) -> int:
        """They began without a second factor; if one of them is a thief's, this is what shuts the thief out."""
        cause = Cause("second_factor", str(holder.user_id), "user", holder.origin.address)
        return await self._ending.end_all_of(statements, holder.user_id, None, cause, holder.session_id)

    async def _send(self, statements: Statements, holder: Holder, template: str) -> None:
        """Tell the user, who may not be the one who did it."""
        account = await rows.account(statements, holder.user_id)
        told = when_and_where(self._now(), holder.origin.address)
        await self._mail.enqueue(statements, account["email"] if account else "", template, told)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _enabled(row: Row | None) -> Row:
    if row is None or row["enabled_at"] is None:
        raise SecondFactorMissing
    return row


def _require_totp(code: Code) -> None:
    if code.is_recovery:
        raise InvalidFields(code="must be six digits of the app")


async def _replace_codes(statements: Statements, holder: Holder) -> list[str]:
    codes = one_time_codes.new_recovery_codes()
    digests = [one_time_codes.recovery_digest(holder.user_id, one_time_codes.read(code, "code")) for code in codes]
    await rows.replace_codes(statements, holder.user_id, digests)
    return codes
