"""Refresh tokens: each is used once, and its successor is derived from it.

The successor is a keyed hash of its parent. Whoever presents the parent again within the grace gets the same successor,
be it a second tab, a client that lost the answer, or a thief: so there are never two branches, and of two bearers of
one chain, whoever comes second after the grace gives both away.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.auth import permissions
from services.auth.ending import Cause, Ending
from services.auth.origin import MAX_DEVICE, Origin
from services.auth.sessions import REFRESH_PREFIX, Issued, Lifetimes, Member, Sessions, sha256
from services.auth.store import memberships
from services.auth.store import refresh_tokens as rows
from services.auth.tokens import IssuedToken
from services.runtime.errors import DomainError, TokenExpired, TokenInvalid, TokenRevoked
from services.runtime.postgres import Database, Row, Statements

_SHAPE = re.compile(rf"{REFRESH_PREFIX}[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True, slots=True)
class Rotation:
    """How refresh tokens follow one another."""

    key: bytes
    """What successors are derived with; the same for all replicas."""
    grace: float
    """For how many seconds a token gets its successor again."""
    lifetimes: Lifetimes


@dataclass(frozen=True, slots=True)
class _Refreshed:
    member: Member
    session_id: UUID
    expires_at: datetime


class Refreshing:
    """Exchanges refresh tokens."""

    def __init__(self, database: Database, sessions: Sessions, ending: Ending, rotation: Rotation) -> None:
        self._database = database
        self._sessions = sessions
        self._ending = ending
        self._rotation = rotation

    async def refresh(self, token: str, origin: Origin) -> Issued:
        """An access token of now, and the next refresh token. Raises TokenInvalid, TokenExpired and TokenRevoked."""
        if not _SHAPE.fullmatch(token):
            raise TokenInvalid
        following = successor(self._rotation.key, token)
        async with self._database.all_tenants() as statements:
            outcome = await self._exchange(statements, sha256(token), sha256(following), origin)
        if isinstance(outcome, DomainError):  # only now, for what was noticed must be committed
            raise outcome
        access_token = self._sessions.access_token(outcome.member, outcome.session_id)
        return Issued(access_token, IssuedToken(following, int(outcome.expires_at.timestamp())))

    async def _exchange(
        self, statements: Statements, token: bytes, following: bytes, origin: Origin
    ) -> _Refreshed | DomainError:
        session = await rows.lock_session(statements, token)
        row = await rows.get(statements, token, following, self._rotation.grace)
        if session is None or row is None:
            return TokenInvalid()
        if problem := _ended(session):
            return problem
        if row["rotated_at"] and not row["in_grace"]:
            return await self._end(statements, session, Cause("reuse", address=origin.address))
        member = await _member(statements, session)
        if member is None:
            return await self._end(statements, session, Cause("removal", address=origin.address))
        again = row["rotated_at"] is not None
        expires_at = session["expires_at"] if again else await self._rotate(statements, token, following, origin)
        return _Refreshed(member, session["session_id"], expires_at)

    async def _end(self, statements: Statements, session: Row, cause: Cause) -> TokenRevoked:
        await self._ending.end(statements, [session["session_id"]], cause)
        return TokenRevoked()

    async def _rotate(self, statements: Statements, token: bytes, following: bytes, origin: Origin) -> datetime:
        device, lifetimes = origin.device[:MAX_DEVICE], self._rotation.lifetimes
        return await rows.rotate(statements, token, following, device, origin.address, lifetimes.idle, lifetimes.most)


def successor(key: bytes, token: str) -> str:
    """The refresh token behind this one: 256 bits that nobody tells without the key."""
    digest = hmac.digest(key, token.encode(), "sha256")
    return REFRESH_PREFIX + urlsafe_b64encode(digest).decode().rstrip("=")


def _ended(session: Row) -> DomainError | None:
    if session["ended_at"]:
        return TokenRevoked()
    return TokenExpired() if session["expired"] else None


async def _member(statements: Statements, session: Row) -> Member | None:
    row = await memberships.get(statements, session["organization_id"], session["user_id"])
    if row is None:
        return None
    return Member(row["organization_id"], row["user_id"], permissions.of(row), row["version"])
