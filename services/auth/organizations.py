"""Organizations as wholes: a user's own, another one, and a new name."""

from collections.abc import Mapping
from uuid import UUID

from uuid_utils.compat import uuid7

from services.auth.accounts import MAX_NAME
from services.auth.audit import Entry, append
from services.auth.deeds import deed
from services.auth.origin import Origin
from services.auth.store import organizations as rows
from services.runtime import fields
from services.runtime.caller import Principal
from services.runtime.errors import TooLarge, UserNotFound
from services.runtime.fields import Rule, as_uuid, text
from services.runtime.postgres import Database, Row

MOST = 100
"""How many a user who makes another one may belong to."""
RULES: Mapping[str, Rule] = {"name": text(1, MAX_NAME)}


class Organizations:
    """The rules of organizations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Principal, name: str, origin: Origin) -> UUID:
        """A new one, which the caller owns. Raises InvalidFields, UserNotFound and TooLarge."""
        fields.check({"name": name}, RULES)
        user_id, organization_id = _user(caller), uuid7()
        async with self._database.all_tenants() as statements:
            count = await rows.count_of_user(statements, user_id)
            if count is None:
                raise UserNotFound(caller.subject)
            if count >= MOST:
                raise TooLarge(f"a user of {MOST} organizations makes no more")
            await rows.insert(statements, organization_id, name, user_id)
            entry = Entry("organization.create", caller.subject, target=str(organization_id), address=origin.address)
            await append(statements, organization_id, entry)
        return organization_id

    async def of_user(self, caller: Principal) -> list[Row]:
        """Those that the caller belongs to, with the role. Raises UserNotFound for a caller who is no user."""
        user_id = _user(caller)
        async with self._database.all_tenants(read_only=True) as statements:
            return await rows.of_user(statements, user_id)

    async def rename(self, caller: Principal, name: str, origin: Origin) -> None:
        """Another name for the caller's organization. Raises InvalidFields and PermissionMissing."""
        fields.check({"name": name}, RULES)
        async with deed(self._database, caller, origin, "organization:write") as doing:
            await rows.rename(doing.statements, caller.tenant, name)
            await doing.record("organization.update", caller.tenant, name=name)


def _user(caller: Principal) -> UUID:
    known = as_uuid(caller.subject) if caller.subject_type == "user" else None
    if known is None:
        raise UserNotFound(caller.subject)
    return known
