"""Joining an organization by the code of an invitation: with a new account, or with the one that the address has."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from services.auth import permissions, roles
from services.auth.accounts import MAX_NAME, User
from services.auth.attempts import Attempts
from services.auth.audit import INSTALLATION, Entry, append
from services.auth.invitations import PERMISSION, digest
from services.auth.origin import Origin
from services.auth.passwords import Passwords
from services.auth.roles import Role
from services.auth.sessions import Issued, Member, Sessions
from services.auth.store import accounts, memberships, organizations
from services.auth.store import invitations as rows
from services.runtime import fields
from services.runtime.caller import Principal
from services.runtime.errors import CodeInvalid, CredentialsInvalid, DomainError
from services.runtime.fields import Rule, text
from services.runtime.postgres import Database, Row, Statements

RULES: Mapping[str, Rule] = {"display_name": text(1, MAX_NAME)}


@dataclass(frozen=True, slots=True)
class Joined:
    """Who has joined what, and the tokens of a new account."""

    user: User
    organization_id: UUID
    organization_name: str
    role: Role
    issued: Issued | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What someone gives with a code."""

    sha256: bytes
    password: str
    display_name: str
    caller: Principal | None
    origin: Origin


class Joining:
    """The rules of accepting."""

    def __init__(self, database: Database, passwords: Passwords, attempts: Attempts, sessions: Sessions) -> None:
        self._database = database
        self._passwords = passwords
        self._attempts = attempts
        self._sessions = sessions

    async def accept(
        self, code: str, password: str, display_name: str, caller: Principal | None, origin: Origin
    ) -> Joined:
        """Join by a code: with a new account, or with the one of the address, by its token or its password.

        Raises CodeInvalid, InvalidFields, CredentialsInvalid, TooManyAttempts, AlreadyMember and EmailTaken; none
        uses the code up.
        """
        answer = Answer(digest(code), password, display_name, caller, origin)
        async with self._database.all_tenants(read_only=True) as statements:
            row = await rows.by_hash(statements, answer.sha256)
        try:
            if row is None:
                await self._attempts.deed("invitation", origin)
                raise CodeInvalid
            return await self._join(row, answer)
        except (CodeInvalid, CredentialsInvalid) as error:
            await self._record_refusal(row["organization_id"] if row else INSTALLATION, error, origin)
            raise

    async def _join(self, invited: Row, answer: Answer) -> Joined:
        password_hash = await self._proven(invited, answer)
        organization_id: UUID = invited["organization_id"]
        async with self._database.tenant(organization_id) as statements:
            organization = await organizations.lock(statements, organization_id)
            row = await rows.claim(statements, organization_id, answer.sha256)
            if organization is None or row is None or not await _still_meant(statements, row):
                raise CodeInvalid
            user_id = invited["user_id"] or await _new_user(statements, row, answer, password_hash)
            role = roles.of_row(row)
            await memberships.insert(statements, organization_id, user_id, *role.stored)
            await _record_joining(statements, row, user_id, role, answer.origin)
            member = await memberships.get(statements, organization_id, user_id)
            assert member is not None
            issued = None if invited["user_id"] else await self._log_in(statements, member, answer.origin)
        user = User(user_id, member["email"], member["display_name"], member["created_at"])
        return Joined(user, organization_id, organization["name"], role, issued)

    async def _proven(self, invited: Row, answer: Answer) -> str:
        """The hash of a new account's password; empty for whoever has shown to be the user of the address."""
        if invited["user_id"] is None:
            fields.check({"display_name": answer.display_name}, RULES)
            return await self._passwords.hash(answer.password)
        caller = answer.caller
        if caller is None or (caller.subject_type, caller.subject) != ("user", str(invited["user_id"])):
            async with self._attempts.attempt(invited["user_email"], answer.origin):
                await self._passwords.check(answer.password, invited["password_hash"])
        return ""

    async def _log_in(self, statements: Statements, row: Row, origin: Origin) -> Issued:
        member = Member(row["organization_id"], row["user_id"], permissions.of(row), row["version"])
        return await self._sessions.begin(statements, member, origin)

    async def _record_refusal(self, organization_id: UUID, error: DomainError, origin: Origin) -> None:
        entry = Entry("invitation.refuse", "", "stranger", address=origin.address, details={"reason": error.reason})
        async with self._database.tenant(organization_id) as statements:
            await append(statements, organization_id, entry)


async def _still_meant(statements: Statements, row: Row) -> bool:
    """Whether whoever invited could do so now: what a member left behind is worth no more than the member."""
    inviter = await memberships.get(statements, row["organization_id"], row["inviter_id"])
    needed = permissions.of(row) | {PERMISSION}
    return inviter is not None and not permissions.beyond(permissions.of(inviter), needed)


async def _new_user(statements: Statements, row: Row, answer: Answer, password_hash: str) -> UUID:
    user_id = uuid7()
    await accounts.insert_user(statements, user_id, row["email"], answer.display_name, password_hash)
    return user_id


async def _record_joining(statements: Statements, row: Row, user_id: UUID, role: Role, origin: Origin) -> None:
    details = {"role": role.role_id, "invitation": str(row["invitation_id"]), "inviter": str(row["inviter_id"])}
    entry = Entry("member.join", str(user_id), target=str(user_id), address=origin.address, details=details)
    await append(statements, row["organization_id"], entry)
