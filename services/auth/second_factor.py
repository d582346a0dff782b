"""Second factors as log-ins and changes meet them: a code is asked for, tried alone, and used up."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID

from services.auth import one_time_codes
from services.auth.attempts import Attempts, Limits
from services.auth.audit import Entry, append
from services.auth.one_time_codes import Code
from services.auth.origin import Origin
from services.auth.sealing import Keyring
from services.auth.store import second_factor as rows
from services.runtime.caller import Principal
from services.runtime.errors import PermissionMissing, SecondFactorInvalid, SecondFactorRequired
from services.runtime.postgres import Database, Row, Statements

PURPOSE = "second factors"
Expect = Callable[[Row | None], Row]
"""Returns the row of a factor or enrolment if it is as it must be; otherwise it raises what is wrong."""


def stricter(limits: Limits) -> Limits:
    """For codes. Whoever tries them has the password already, and three of a million are good at a time: by four
    guesses an hour, from however many addresses, one is found in ten years. The owner, at a familiar address, is not
    held up.
    """
    return replace(limits, pair=5, account=10, account_seconds=900.0)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose factor it is, in which organization and from where they act, and in which session if there is one yet."""

    user_id: UUID
    organization_id: UUID
    origin: Origin
    session_id: UUID | None = None

    @classmethod
    def of(cls, principal: Principal, origin: Origin) -> "Holder":
        """Of a user's own session. Raises PermissionMissing for a script's, a service's or an anonymous call."""
        if principal.subject_type != "user" or not principal.session_id:
            raise PermissionMissing("a session of the user's own")
        return cls(UUID(principal.subject), principal.tenant, origin, UUID(principal.session_id))

    def deed(self, action: str, **details: str) -> Entry:
        """What the user did."""
        return Entry(action, str(self.user_id), "user", str(self.user_id), self.origin.address, details)

    def failure(self, proof: str) -> Entry:
        """What was tried in vain, by a stranger as long as there is no session."""
        actor, actor_type = (str(self.user_id), "user") if self.session_id else ("", "stranger")
        details = {"proof": proof}
        return Entry("second_factor.fail", actor, actor_type, str(self.user_id), self.origin.address, details)


class SecondFactors:
    """Tries codes. Whoever sent a wrong one hears of it when it is counted and its audit entry is committed."""

    def __init__(
        self, database: Database, keyring: Keyring, attempts: Attempts, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._attempts = attempts
        self._clock = clock

    @asynccontextmanager
    async def passed(self, holder: Holder, code: Code | None) -> AsyncIterator[Statements]:
        """A transaction of the organization for what a log-in begins after its password was right.

        The code is used up by its commit. Raises SecondFactorRequired, SecondFactorInvalid and TooManyAttempts.
        """
        async with self._database.tenant(holder.organization_id) as statements:
            await rows.share_user(statements, holder.user_id)
            factor = await rows.lock(statements, holder.user_id)
            if factor is None or factor["enabled_at"] is None:
                yield statements
                return
            if code is None:  # written down: whoever tries stolen passwords gets this far, and no further
                await append(statements, holder.organization_id, holder.failure("none"))
            elif await self._accepts(statements, holder, factor, code):
                yield statements
                await _tell_use(statements, holder, code)
                return
        raise SecondFactorRequired if code is None else SecondFactorInvalid

    @asynccontextmanager
    async def proved(self, holder: Holder, code: Code, expect: Expect) -> AsyncIterator[Statements]:
        """A transaction across organizations for a change of the factor, while which no log-in of the user begins.

        Raises what `expect` does, SecondFactorInvalid and TooManyAttempts.
        """
        async with self._database.all_tenants() as statements:
            await rows.lock_user(statements, holder.user_id)
            factor = expect(await rows.lock(statements, holder.user_id))
            if await self._accepts(statements, holder, factor, code):
                yield statements
                await _tell_use(statements, holder, code)
                return
        raise SecondFactorInvalid

    async def _accepts(self, statements: Statements, holder: Holder, factor: Row, code: Code) -> bool:
        """Whether it is good; it is no more, then. If not, there is an entry of it to be committed."""
        try:
            async with self._attempts.attempt(f"factor {holder.user_id}", holder.origin):
                await self._use_up(statements, holder.user_id, factor["secret"], code)
        except SecondFactorInvalid:
            await append(statements, holder.organization_id, holder.failure(code.kind))
            return False
        return True

    async def _use_up(self, statements: Statements, user_id: UUID, sealed: bytes, code: Code) -> None:
        if not await self._used_up(statements, user_id, sealed, code):
            raise SecondFactorInvalid

    async def _used_up(self, statements: Statements, user_id: UUID, sealed: bytes, code: Code) -> bool:
        if code.is_recovery:
            return await rows.use_code(statements, user_id, one_time_codes.recovery_digest(user_id, code))
        secret = self._keyring.opened(sealed, PURPOSE, str(user_id)).decode()
        step = one_time_codes.step_of(secret, code, self._clock())
        return step is not None and await rows.use_step(statements, user_id, step)


async def _tell_use(statements: Statements, holder: Holder, code: Code) -> None:
    """Last, because a change locks the chains of several organizations, and these must be locked in their order."""
    if code.is_recovery:
        await append(statements, holder.organization_id, holder.deed("recovery_code.use"))
