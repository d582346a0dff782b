"""Registering, logging in, and what our own services and strangers are given."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from services.auth import one_time_codes, permissions
from services.auth.attempts import Attempts
from services.auth.audit import Entry, append
from services.auth.credentials import MAX_EMAIL, Credentials
from services.auth.ending import Cause, Ending
from services.auth.origin import Origin
from services.auth.passwords import Passwords
from services.auth.permissions import ROLES, SERVICES
from services.auth.second_factor import Holder, SecondFactors
from services.auth.sessions import Issued, Member, Sessions
from services.auth.store import accounts as rows
from services.auth.tokens import Grant, IssuedToken, Tokens
from services.runtime.errors import AnonymousAccessDisabled, CredentialsInvalid, InvalidFields
from services.runtime.postgres import Database

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class User:
    """Someone with an account."""

    user_id: UUID
    email: str
    display_name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A user, the organization that the tokens are for, and the tokens."""

    user: User
    organization_id: UUID
    organization_name: str
    issued: Issued


class Accounts:
    """The rules of identity; every answer to a wrong secret is the same CredentialsInvalid."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        credentials: Credentials,
        second_factors: SecondFactors,
        attempts: Attempts,
        sessions: Sessions,
        ending: Ending,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._credentials = credentials
        self._second_factors = second_factors
        self._attempts = attempts
        self._sessions = sessions
        self._ending = ending

    async def register(
        self, email: str, password: str, display_name: str, organization: str, origin: Origin
    ) -> LoggedIn:
        """A new user with a new organization. Raises InvalidFields, EmailTaken, TooManyAttempts and Overloaded."""
        _check(email, display_name, organization)
        await self._attempts.deed("register", origin)
        password_hash = await self._passwords.hash(password)
        organization_id, user_id = uuid7(), uuid7()
        async with self._database.tenant(organization_id) as statements:
            row = await rows.insert_account(
                statements, organization_id, organization, user_id, email, display_name, password_hash
            )
            entry = Entry("organization.create", str(user_id), target=str(organization_id), address=origin.address)
            await append(statements, organization_id, entry)
            owner = Member(organization_id, user_id, ROLES["owner"], 1)
            issued = await self._sessions.begin(statements, owner, origin)
        return LoggedIn(User(**row), organization_id, organization, issued)

    async def log_in(
        self, email: str, password: str, organization_id: UUID | None, second_factor_code: str, origin: Origin
    ) -> LoggedIn:
        """Tokens for one of the user's organizations.

        Raises CredentialsInvalid, InvalidFields, TooManyAttempts and Overloaded, and as `SecondFactors.passed` does.
        """
        code = one_time_codes.read_if_any(second_factor_code, "second_factor_code")
        async with self._attempts.attempt(email[: MAX_EMAIL + 1], origin):
            proven = await self._credentials.prove(email, password, organization_id, origin)
            row = proven.row
            member = Member(row["organization_id"], row["user_id"], permissions.of(row), row["version"])
            holder = Holder(member.user_id, member.organization_id, origin)
            async with self._second_factors.passed(holder, code) as statements:
                await proven.hold(statements)
                cause = Cause("crowd", str(member.user_id), "user", origin.address)
                await self._ending.make_room(statements, member.user_id, member.organization_id, cause)
                issued = await self._sessions.begin(statements, member, origin)
        user = User(row["user_id"], row["email"], row["display_name"], row["created_at"])
        return LoggedIn(user, member.organization_id, row["organization_name"], issued)


class Identities:
    """Tokens for those who have no account: our own services, and anonymous readers."""

    def __init__(self, tokens: Tokens, service_digests: Mapping[str, str], anonymous_organization: UUID | None) -> None:
        self._tokens = tokens
        self._service_digests = service_digests
        self._anonymous_organization = anonymous_organization

    def anonymous(self) -> IssuedToken:
        """A token to read the shown organization. Raises AnonymousAccessDisabled."""
        if self._anonymous_organization is None:
            raise AnonymousAccessDisabled
        return self._tokens.issue(Grant("anonymous", "anonymous", ROLES["viewer"], self._anonymous_organization))

    def service(self, name: str, secret: str) -> IssuedToken:
        """A token for one of our own services. Raises CredentialsInvalid."""
        digest = hashlib.sha256(secret.encode()).hexdigest()
        if not hmac.compare_digest(digest, self._service_digests.get(name, "")):
            raise CredentialsInvalid
        return self._tokens.issue(Grant(f"service:{name}", "service", SERVICES.get(name, frozenset())))


def is_email(text: str) -> bool:
    """Whether it looks like an e-mail address."""
    return len(text) <= MAX_EMAIL and _EMAIL.fullmatch(text) is not None


def _check(email: str, display_name: str, organization: str) -> None:
    violations = {}
    if not is_email(email):
        violations["email"] = "must be an e-mail address"
    if not 1 <= len(display_name) <= MAX_NAME:
        violations["display_name"] = f"must have 1 to {MAX_NAME} characters"
    if not 1 <= len(organization) <= MAX_NAME:
        violations["organization_name"] = f"must have 1 to {MAX_NAME} characters"
    if violations:
        raise InvalidFields(**violations)
