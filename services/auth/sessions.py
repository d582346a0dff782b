"""Sessions: what a log-in begins, and what refreshing goes on with."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from services.auth.audit import Entry, append
from services.auth.origin import Origin
from services.auth.store import sessions as rows
from services.auth.tokens import Grant, IssuedToken, Tokens
from services.runtime.postgres import Statements

REFRESH_PREFIX = "nrctmy_refresh_"


@dataclass(frozen=True, slots=True)
class Member:
    """A user in one organization, and what they may do there now."""

    organization_id: UUID
    user_id: UUID
    permissions: frozenset[str]
    version: int
    """The membership's version."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What a log-in or a refresh gives."""

    access_token: IssuedToken
    refresh_token: IssuedToken


class Sessions:
    """Begins sessions."""

    def __init__(self, tokens: Tokens, refresh_seconds: int, clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._refresh_seconds = refresh_seconds
        self._clock = clock

    async def begin(self, statements: Statements, member: Member, origin: Origin) -> Issued:
        """A session and its first tokens, in a transaction that sees the organization or all of them."""
        session_id, refresh_token = uuid7(), f"{REFRESH_PREFIX}{secrets.token_urlsafe(32)}"
        expires = int(self._clock()) + self._refresh_seconds
        await rows.insert(
            statements,
            session_id,
            member.organization_id,
            member.user_id,
            origin.device,
            origin.address,
            datetime.fromtimestamp(expires, UTC),
            hashlib.sha256(refresh_token.encode()).digest(),
        )
        entry = Entry("session.create", str(member.user_id), target=str(session_id), address=origin.address)
        await append(statements, member.organization_id, entry)
        return Issued(self.access_token(member, session_id), IssuedToken(refresh_token, expires))

    def access_token(self, member: Member, session_id: UUID) -> IssuedToken:
        """A token of a session."""
        user_id, organization_id = str(member.user_id), member.organization_id
        grant = Grant(user_id, "user", member.permissions, organization_id, str(session_id), member.version)
        return self._tokens.issue(grant)
