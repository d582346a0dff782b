"""A change of who may do what in an organization: one at a time, by someone who may do it at that moment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from services.auth import permissions
from services.auth.audit import Entry, append
from services.auth.origin import Origin
from services.auth.store import memberships, organizations
from services.runtime.caller import Principal, covers
from services.runtime.errors import PermissionMissing
from services.runtime.fields import as_uuid
from services.runtime.postgres import Database, Row, Statements


@dataclass(frozen=True, slots=True)
class Deed:
    """A transaction that holds the organization, and what its author may do there now."""

    statements: Statements
    caller: Principal
    origin: Origin
    author: Row | None
    """The membership of the caller, or of whoever made the caller's API key."""

    @property
    def organization_id(self) -> UUID:
        """Where it is done."""
        return self.caller.tenant

    @property
    def granted(self) -> frozenset[str]:
        """What the token says, as far as the membership still gives it."""
        if self.author is None:
            return frozenset()
        return permissions.within(self.caller.permissions, permissions.of(self.author))

    def require(self, permission: str) -> None:
        """Raise PermissionMissing unless the author has it now."""
        if not covers(self.granted, permission):
            raise PermissionMissing(permission)

    def require_all(self, wanted: frozenset[str]) -> None:
        """Nobody gives, changes or takes what they do not have themselves. Raises PermissionMissing."""
        for missing in permissions.beyond(self.granted, wanted):
            raise PermissionMissing(missing)

    async def record(self, action: str, target: object, **details: str) -> None:
        """Say in the audit log that it was done. The last thing of a transaction: others wait from here on."""
        actor, kind = self.caller.subject, self.caller.subject_type
        entry = Entry(action, actor, kind, str(target), self.origin.address, details)
        await append(self.statements, self.organization_id, entry)


@asynccontextmanager
async def deed(database: Database, caller: Principal, origin: Origin, permission: str = "") -> AsyncIterator[Deed]:
    """A deed that commits at the end. Raises PermissionMissing unless its author has the permission now.

    Holding the organization keeps two owners from removing each other, and a role from vanishing while it is given.
    """
    async with database.tenant(caller.tenant) as statements:
        await organizations.lock(statements, caller.tenant)
        begun = Deed(statements, caller, origin, await membership_of(statements, caller))
        if permission:
            begun.require(permission)
        yield begun


async def membership_of(statements: Statements, caller: Principal) -> Row | None:
    """The membership that a caller's permissions come from; None for one who is neither a member nor a member's key."""
    known = as_uuid(caller.subject)
    if known is None:
        return None
    if caller.subject_type == "api_key":
        return await memberships.of_creator(statements, caller.tenant, known)
    return await memberships.get(statements, caller.tenant, known)
