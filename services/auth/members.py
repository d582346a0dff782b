"""Members: who belongs to an organization, by which role, and how that ends."""

from collections.abc import Mapping
from uuid import UUID

from services.auth import permissions, roles
from services.auth.deeds import Deed, deed
from services.auth.ending import Cause, Ending
from services.auth.origin import Origin
from services.auth.revocations import Revocations
from services.auth.rights import take_back
from services.auth.store import api_keys as api_key_rows
from services.auth.store import memberships as rows
from services.runtime import fields, pages
from services.runtime.caller import Principal
from services.runtime.errors import LastOwner, OrganizationNotFound, UserNotFound
from services.runtime.fields import Rule, as_uuid
from services.runtime.postgres import Database, Row

FIRST = UUID(int=0)
PAGE_RULES: Mapping[str, Rule] = {"page_size": pages.SIZE}


class Members:
    """The rules of membership; nobody gives what they do not have, or changes someone who may do more than they."""

    def __init__(self, database: Database, revocations: Revocations, ending: Ending) -> None:
        self._database = database
        self._revocations = revocations
        self._ending = ending

    async def page(
        self, caller: Principal, organization_id: str, page_size: int, page_token: str
    ) -> tuple[list[Row], str, list[str]]:
        """Members in the order in which they registered, the next page's token, and the token behind each.

        Raises InvalidFields, PageTokenInvalid, and OrganizationNotFound for another organization than the caller's.
        """
        fields.check({"page_size": page_size}, PAGE_RULES)
        if organization_id not in ("", str(caller.tenant)):
            raise OrganizationNotFound(organization_id)
        listing, size = f"members {caller.tenant}", page_size or pages.DEFAULT_SIZE
        after = pages.decode(listing, page_token, _user_id) if page_token else FIRST
        async with self._database.tenant(caller.tenant, read_only=True) as statements:
            found = await rows.page(statements, caller.tenant, after, size + 1)
        page, token = pages.cut(found, size, listing, _place)
        return page, token, [pages.encode(listing, _place(row)) for row in page]

    async def set_role(self, caller: Principal, user_id: str, role_id: str, origin: Origin) -> Row:
        """The member with another role. Raises UserNotFound, RoleNotFound, PermissionMissing and LastOwner."""
        async with deed(self._database, caller, origin, "members:manage") as doing:
            member = await _member(doing, user_id)
            before, role = roles.of_row(member), await roles.find(doing.statements, caller.tenant, role_id)
            doing.require_all(before.permissions | role.permissions)
            if role.stored == before.stored:
                return member
            await _keep_an_owner(doing, member)
            changed = await rows.set_role(doing.statements, caller.tenant, member["user_id"], *role.stored)
            assert changed is not None
            await take_back(doing, self._revocations, [changed])
            await doing.record("member.set_role", member["user_id"], role=role.role_id, before=before.role_id)
            return await _member(doing, user_id)

    async def remove(self, caller: Principal, user_id: str, origin: Origin) -> None:
        """The user is no member any more. Raises UserNotFound, PermissionMissing and LastOwner."""
        async with deed(self._database, caller, origin, "members:manage") as doing:
            member = await _member(doing, user_id)
            doing.require_all(permissions.of(member))
            await self._end(doing, member, "member.remove")

    async def leave(self, caller: Principal, origin: Origin) -> None:
        """The caller is no member any more. Raises LastOwner, and UserNotFound for a caller who is no user."""
        if caller.subject_type != "user":
            raise UserNotFound(caller.subject)
        async with deed(self._database, caller, origin) as doing:
            await self._end(doing, await _member(doing, caller.subject), "member.leave")

    async def _end(self, doing: Deed, member: Row, action: str) -> None:
        await _keep_an_owner(doing, member)
        cause = Cause("removal", doing.caller.subject, doing.caller.subject_type, doing.origin.address)
        await self._ending.end_all_of(doing.statements, member["user_id"], doing.organization_id, cause)
        ended = await rows.delete(doing.statements, doing.organization_id, member["user_id"])
        assert ended is not None
        await take_back(doing, self._revocations, [ended])
        keys = await self._revoke_keys(doing, member["user_id"])
        details = {"before": roles.of_row(member).role_id, "api_keys_revoked": str(keys)}
        await doing.record(action, member["user_id"], **details)

    async def _revoke_keys(self, doing: Deed, user_id: UUID) -> int:
        """Or they would live again when their owner joins again."""
        await api_key_rows.lock(doing.statements, doing.organization_id)
        return len(await rows.revoke_keys(doing.statements, doing.organization_id, user_id))


async def _member(doing: Deed, user_id: str) -> Row:
    known = as_uuid(user_id)
    row = await rows.get(doing.statements, doing.organization_id, known) if known else None
    if row is None:
        raise UserNotFound(user_id)
    return row


async def _keep_an_owner(doing: Deed, member: Row) -> None:
    """Raise LastOwner for the only one, who is about to be one no more."""
    if member["role"] == "owner" and await rows.count_owners(doing.statements, doing.organization_id) == 1:
        raise LastOwner


def _place(row: Row) -> bytes:
    return bytes(row["user_id"].bytes)


def _user_id(last: bytes) -> UUID:
    return UUID(bytes=last)
