"""Registering, logging in, and what a principal becomes of."""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from services.auth import api_keys
from services.auth.passwords import Passwords
from services.auth.permissions import ROLES, SERVICES
from services.auth.store import AuthStore
from services.auth.tokens import Grant, IssuedToken, Tokens
from services.runtime.caller import Principal
from services.runtime.errors import (
    AnonymousAccessDisabled,
    CredentialsInvalid,
    InvalidFields,
    TokenExpired,
    TokenInvalid,
)

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
MAX_NAME = 200
MAX_EMAIL = 254
FAR_FUTURE = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class User:
    """Someone with an account."""

    user_id: UUID
    email: str
    display_name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A user, the organization that the token is for, and the token."""

    user: User
    organization_id: UUID
    organization_name: str
    access_token: IssuedToken


class Accounts:
    """The rules of identity; every answer to a wrong secret is the same CredentialsInvalid."""

    def __init__(
        self,
        store: AuthStore,
        passwords: Passwords,
        tokens: Tokens,
        service_digests: Mapping[str, str],
        anonymous_organization: UUID | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._tokens = tokens
        self._service_digests = service_digests
        self._anonymous_organization = anonymous_organization
        self._clock = clock

    async def register(self, email: str, password: str, display_name: str, organization: str) -> LoggedIn:
        """A new user with a new organization. Raises InvalidFields and EmailTaken."""
        _check(email, display_name, organization)
        password_hash = await self._passwords.hash(password)
        organization_id, user_id = uuid7(), uuid7()
        row = await self._store.create_account(
            organization_id, organization, user_id, email, display_name, password_hash
        )
        return LoggedIn(User(**row), organization_id, organization, self._log_in(user_id, organization_id, "owner"))

    async def log_in(self, email: str, password: str, organization_id: UUID | None) -> LoggedIn:
        """A token for one of the user's organizations. Raises CredentialsInvalid."""
        row = await self._store.credentials(email, organization_id)
        await self._passwords.check(password, row["password_hash"] if row else None)
        assert row is not None
        user = User(row["user_id"], row["email"], row["display_name"], row["created_at"])
        token = self._log_in(user.user_id, row["organization_id"], row["role"])
        return LoggedIn(user, row["organization_id"], row["organization_name"], token)

    def _log_in(self, user_id: UUID, organization_id: UUID, role: str) -> IssuedToken:
        return self._tokens.issue(Grant(str(user_id), "user", ROLES[role], organization_id, str(uuid7())))

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

    async def create_api_key(
        self, creator: Principal, name: str, scopes: frozenset[str], expires_at: datetime | None
    ) -> tuple[UUID, str]:
        """The id of a new key, and the key itself. Raises InvalidFields and PermissionMissing."""
        if not 1 <= len(name) <= MAX_NAME:
            raise InvalidFields(name=f"must have 1 to {MAX_NAME} characters")
        if expires_at is not None and expires_at.timestamp() <= self._clock():
            raise InvalidFields(expire_time="must be in the future")
        granted = sorted(api_keys.scopes_within(creator.permissions, scopes))
        api_key_id, key = uuid7(), api_keys.generate()
        prefix, digest = api_keys.shown_prefix(key), api_keys.digest(key)
        await self._store.create_api_key(
            api_key_id, creator.tenant, creator.subject, name, prefix, digest, granted, expires_at
        )
        return api_key_id, key

    async def api_key_principal(self, key: str) -> Principal:
        """Whom an API key stands for. Raises TokenInvalid and TokenExpired."""
        row = await self._store.api_key(api_keys.digest(key))
        if row is None:
            raise TokenInvalid
        expires = (row["expires_at"] or FAR_FUTURE).timestamp()
        if expires <= self._clock():
            raise TokenExpired
        permissions = frozenset(row["scopes"])
        return Principal(str(row["api_key_id"]), "api_key", row["organization_id"], permissions, "", expires)


def _check(email: str, display_name: str, organization: str) -> None:
    violations = {}
    if len(email) > MAX_EMAIL or not _EMAIL.fullmatch(email):
        violations["email"] = "must be an e-mail address"
    if not 1 <= len(display_name) <= MAX_NAME:
        violations["display_name"] = f"must have 1 to {MAX_NAME} characters"
    if not 1 <= len(organization) <= MAX_NAME:
        violations["organization_name"] = f"must have 1 to {MAX_NAME} characters"
    if violations:
        raise InvalidFields(**violations)
