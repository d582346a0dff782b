"""Sessions: what a log-in begins, and the tokens that it gives."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from services.auth.audit import Entry, append
from services.auth.origin import MAX_DEVICE, Origin
from services.auth.store import sessions as rows
from services.auth.tokens import Grant, IssuedToken, Tokens
from services.runtime.postgres import Statements

REFRESH_PREFIX = "nrctmy_refresh_"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """In seconds."""

    idle: int
    """How long a session lives that is not refreshed."""
    most: int
    """How long it lives at most, from the moment when a password was asked for."""


@dataclass(frozen=True, slots=True)
class Member:
    """A user in one organization, and what they may do there now."""

    organization_id: UUID
    user_id: UUID
    permissions: frozenset[str]
    version: int
    """The membership's version."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The session that another one is begun from, without a password."""

    session_id: UUID
    authenticated_at: datetime


@dataclass(frozen=True, slots=True)
class Issued:
    """What a log-in or a refresh gives."""

    access_token: IssuedToken
    refresh_token: IssuedToken


class Sessions:
    """Begins sessions."""

    def __init__(self, tokens: Tokens, lifetimes: Lifetimes, clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._lifetimes = lifetimes
        self._clock = clock

    async def begin(
        self, statements: Statements, member: Member, origin: Origin, parent: Parent | None = None
    ) -> Issued:
        """A session and its first tokens, in a transaction that sees the organization or all of them."""
        session_id, refresh_token = uuid7(), f"{REFRESH_PREFIX}{secrets.token_urlsafe(32)}"
        now = datetime.fromtimestamp(self._clock(), UTC)
        authenticated_at = parent.authenticated_at if parent else now
        expires_at = self._expiry(now, authenticated_at)
        await rows.insert(
            statements,
            session_id,
            member.organization_id,
            member.user_id,
            origin.device[:MAX_DEVICE],
            origin.address,
            expires_at,
            sha256(refresh_token),
            parent.session_id if parent else None,
            authenticated_at,
        )
        await append(statements, member.organization_id, _begun(member, session_id, origin, parent))
        refresh = IssuedToken(refresh_token, int(expires_at.timestamp()))
        return Issued(self.access_token(member, session_id), refresh)

    def _expiry(self, now: datetime, authenticated_at: datetime) -> datetime:
        idle, most = timedelta(seconds=self._lifetimes.idle), timedelta(seconds=self._lifetimes.most)
        return min(now + idle, authenticated_at + most)

    def access_token(self, member: Member, session_id: UUID) -> IssuedToken:
        """A token of a session."""
        user_id, organization_id = str(member.user_id), member.organization_id
        grant = Grant(user_id, "user", member.permissions, organization_id, str(session_id), member.version)
        return self._tokens.issue(grant)


def sha256(refresh_token: str) -> bytes:
    """What is stored of a refresh token."""
    return hashlib.sha256(refresh_token.encode()).digest()


def _begun(member: Member, session_id: UUID, origin: Origin, parent: Parent | None) -> Entry:
    details = {"from": str(parent.session_id)} if parent else {}
    return Entry("session.create", str(member.user_id), target=str(session_id), address=origin.address, details=details)
