"""What can be done with sessions that go on: see them, end them, and begin another from one."""

from collections.abc import Sequence
from uuid import UUID

from services.auth import permissions
from services.auth.accounts import LoggedIn, User
from services.auth.ending import MOST_OPEN, Cause, Ending
from services.auth.origin import Origin
from services.auth.permissions import beyond
from services.auth.sessions import Member, Parent, Sessions
from services.auth.store import accounts, memberships
from services.auth.store import sessions as rows
from services.runtime.caller import Principal
from services.runtime.errors import (
    OrganizationNotFound,
    PermissionMissing,
    SessionNotFound,
    TokenRevoked,
    TooLarge,
    UserNotFound,
)
from services.runtime.fields import as_uuid
from services.runtime.postgres import Database, Row, Statements

MANAGE = "members:manage"


class OpenSessions:
    """Of the caller's own in all organizations, and of members for those who manage them in theirs."""

    def __init__(self, database: Database, sessions: Sessions, ending: Ending) -> None:
        self._database = database
        self._sessions = sessions
        self._ending = ending

    async def list(self, caller: Principal, user_id: str) -> Sequence[Row]:
        """Those of a user, or the caller's own. Raises UserNotFound and PermissionMissing."""
        whose, where = _whose(caller, user_id)
        async with self._database.all_tenants(read_only=True) as statements:
            if where:
                await _member(statements, where, whose)
            return await rows.open_ones(statements, whose, where)

    async def log_out(self, caller: Principal, origin: Origin) -> None:
        """End the session of the call. Raises SessionNotFound."""
        session_id = _session_of(caller)
        async with self._database.all_tenants() as statements:
            await self._ending.end(statements, [session_id], _cause("log_out", caller, origin))

    async def revoke(self, caller: Principal, session_id: str, origin: Origin) -> Row:
        """End one; returns it as it is then. Raises SessionNotFound and PermissionMissing."""
        found, user_id = as_uuid(session_id), _user_of(caller)
        where = caller.organization_id if caller.allows(MANAGE) else None
        async with self._database.all_tenants() as statements:
            row = await rows.one(statements, found, user_id, where) if found else None
            if row is None:
                raise SessionNotFound(session_id)
            if row["user_id"] != user_id:
                await _require_above(statements, caller, row["user_id"])
            own = as_uuid(caller.session_id)
            spared = own if own != row["session_id"] else None
            await self._ending.end(statements, [row["session_id"]], _cause("revoke", caller, origin), spared)
            return await rows.one(statements, row["session_id"], row["user_id"], None) or row

    async def revoke_all(self, caller: Principal, user_id: str, include_current: bool, origin: Origin) -> int:
        """End all of a user, but for that of the call; returns how many. Raises UserNotFound and PermissionMissing."""
        whose, where = _whose(caller, user_id)
        cause, ended = _cause("revoke", caller, origin), 0
        spared = None if include_current else as_uuid(caller.session_id)
        more = await self._revoke_some(caller, whose, where, cause, spared)
        while more:  # each slice in a transaction of its own, so that any number of them ends
            ended += more
            more = await self._revoke_some(caller, whose, where, cause, spared)
        return ended

    async def _revoke_some(
        self, caller: Principal, whose: UUID, where: UUID | None, cause: Cause, spared: UUID | None
    ) -> int:
        async with self._database.all_tenants() as statements:
            if where:
                await _member(statements, where, whose)
                await _require_above(statements, caller, whose)
            return await self._ending.end_some_of(statements, whose, where, cause, spared)

    async def switch(self, caller: Principal, organization_id: str, origin: Origin) -> LoggedIn:
        """A session in another organization. Raises OrganizationNotFound, SessionNotFound, TokenRevoked, TooLarge."""
        session_id, user_id = _session_of(caller), UUID(caller.subject)
        wanted = as_uuid(organization_id)
        async with self._database.all_tenants() as statements:
            # Locked until the new one is there: a session that ends meanwhile takes it along.
            session = await rows.lock_open(statements, session_id)
            if session is None:
                raise TokenRevoked
            if await rows.count_open(statements, user_id, MOST_OPEN) == MOST_OPEN:
                raise TooLarge(f"you have {MOST_OPEN} open sessions; end some first")
            row = await memberships.get(statements, wanted, user_id) if wanted else None
            organization = await accounts.organization(statements, wanted) if wanted else None
            if row is None or organization is None:
                raise OrganizationNotFound(organization_id)
            member = Member(row["organization_id"], user_id, permissions.of(row), row["version"])
            parent = Parent(session_id, session["authenticated_at"])
            issued = await self._sessions.begin(statements, member, origin, parent)
        user = User(user_id, row["email"], row["display_name"], row["created_at"])
        return LoggedIn(user, member.organization_id, organization["name"], issued)


def _whose(caller: Principal, user_id: str) -> tuple[UUID, UUID | None]:
    """The user, and the only organization in which another's sessions concern the caller."""
    own = _user_of(caller)
    wanted = as_uuid(user_id) if user_id else own
    if wanted is None:
        raise UserNotFound(user_id or caller.subject)
    if wanted == own:
        return wanted, None
    caller.require(MANAGE)
    return wanted, caller.tenant


def _user_of(caller: Principal) -> UUID | None:
    return as_uuid(caller.subject) if caller.subject_type == "user" else None


def _session_of(caller: Principal) -> UUID:
    session_id = as_uuid(caller.session_id) if caller.subject_type == "user" else None
    if session_id is None:
        raise SessionNotFound(caller.session_id)
    return session_id


async def _member(statements: Statements, organization_id: UUID, user_id: UUID) -> Row:
    row = await memberships.get(statements, organization_id, user_id)
    if row is None:
        raise UserNotFound(user_id)
    return row


async def _require_above(statements: Statements, caller: Principal, user_id: UUID) -> None:
    """Nobody ends what belongs to someone who may do more. Who is no member any more may do nothing."""
    row = await memberships.get(statements, caller.tenant, user_id)
    for permission in beyond(caller.permissions, permissions.of(row)) if row else ():
        raise PermissionMissing(permission)


def _cause(reason: str, caller: Principal, origin: Origin) -> Cause:
    return Cause(reason, caller.subject, caller.subject_type, origin.address)
