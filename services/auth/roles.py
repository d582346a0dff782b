"""Roles: the four that are built in, and those that an organization makes for itself."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from services.auth.deeds import deed
from services.auth.origin import Origin
from services.auth.permissions import CUSTOM, ROLES, is_known
from services.auth.revocations import Revocations
from services.auth.rights import take_back
from services.auth.store import roles as rows
from services.runtime import fields
from services.runtime.caller import Principal
from services.runtime.errors import InvalidFields, RoleNameTaken, RoleNotFound, StaleEtag, TooLarge
from services.runtime.etags import etag_of
from services.runtime.fields import Rule, as_uuid, text
from services.runtime.postgres import Database, Row, Statements

MOST = 100
"""How many an organization may make."""
BUILT_IN = "built-in roles never change"


def _permissions(values: Collection[str]) -> str | None:
    if not 1 <= len(values) <= MOST:
        return f"must be 1 to {MOST}"
    unknown = sorted(value for value in values if not is_known(value))
    return f"names what is no permission: {unknown[0][:100]!r}" if unknown else None


RULES: Mapping[str, Rule] = {"name": text(1, 100), "description": text(0, 1_000), "permissions": _permissions}


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of permissions."""

    role_id: str
    """A UUID; of a built-in one, its name."""
    name: str
    description: str
    permissions: frozenset[str]
    etag: str = ""
    """Empty for a built-in one."""

    @property
    def built_in(self) -> bool:
        """Whether it is the same in all organizations."""
        return not self.etag

    @property
    def stored(self) -> tuple[str, UUID | None]:
        """As memberships and invitations name it."""
        return (self.role_id, None) if self.built_in else (CUSTOM, UUID(self.role_id))


STANDARD = {
    role_id: Role(role_id, role_id, description, ROLES[role_id])
    for role_id, description in {
        "owner": "Does everything, also with the organization itself.",
        "admin": "Does everything but change the organization itself.",
        "editor": "Reads and writes agents, their runs and their knowledge.",
        "viewer": "Reads.",
    }.items()
}
"""The built-in ones, by id, the mightiest first."""


def of_row(row: Row | Mapping[str, Any]) -> Role:
    """The role that a row of a membership or an invitation names."""
    return own(row) if row["role"] == CUSTOM else STANDARD[row["role"]]


def own(row: Row | Mapping[str, Any]) -> Role:
    """One of an organization's own."""
    role_id: UUID = row["role_id"]
    etag, granted = etag_of(role_id, row["role_revision"]), frozenset(row["role_permissions"])
    return Role(str(role_id), row["role_name"], row["role_description"], granted, etag)


async def find(statements: Statements, organization_id: UUID, role_id: str) -> Role:
    """A built-in role or one of the organization's own. Raises RoleNotFound."""
    if role_id in STANDARD:
        return STANDARD[role_id]
    known = as_uuid(role_id)
    row = await rows.get(statements, organization_id, known) if known else None
    if row is None:
        raise RoleNotFound(role_id)
    return own(row)


async def all_of(statements: Statements, organization_id: UUID) -> list[Role]:
    """The built-in ones, then the organization's own by name."""
    return [*STANDARD.values(), *map(own, await rows.all_of(statements, organization_id))]


class Roles:
    """The rules of roles; who makes, changes or deletes one has all of its permissions, before and after."""

    def __init__(self, database: Database, revocations: Revocations) -> None:
        self._database = database
        self._revocations = revocations

    async def all(self, caller: Principal) -> list[Role]:
        """See `all_of`."""
        async with self._database.tenant(caller.tenant, read_only=True) as statements:
            return await all_of(statements, caller.tenant)

    async def create(self, caller: Principal, wanted: Role, origin: Origin) -> Role:
        """A new role. Raises InvalidFields, RoleNameTaken, PermissionMissing and TooLarge."""
        _check(wanted, sorted(RULES))
        async with deed(self._database, caller, origin, "roles:manage") as doing:
            doing.require_all(wanted.permissions)
            if len(await rows.all_of(doing.statements, caller.tenant)) >= MOST:
                raise TooLarge(f"an organization has at most {MOST} roles of its own")
            row = await rows.insert(doing.statements, caller.tenant, uuid7(), *_values(wanted))
            await doing.record("role.create", row["role_id"], **_told(wanted))
            return own(row)

    async def update(self, caller: Principal, wanted: Role, mask: Sequence[str], origin: Origin) -> Role:
        """The role with the masked values. Raises as `create`, RoleNotFound and StaleEtag."""
        _check_mask(mask)
        _check(wanted, mask)
        async with deed(self._database, caller, origin, "roles:manage") as doing:
            before = await _changeable(doing.statements, caller.tenant, wanted.role_id, wanted.etag)
            changed = replace(before, **{path: getattr(wanted, path) for path in mask})
            doing.require_all(before.permissions | changed.permissions)
            role_id = UUID(before.role_id)
            row = await rows.update(doing.statements, caller.tenant, role_id, *_values(changed))
            if changed.permissions != before.permissions:
                members = await rows.raise_versions(doing.statements, caller.tenant, role_id)
                await take_back(doing, self._revocations, members)
            await doing.record("role.update", role_id, **_told(changed))
            return own(row)

    async def delete(self, caller: Principal, role_id: str, etag: str, origin: Origin) -> None:
        """No such role any more. Raises RoleNotFound, RoleInUse, StaleEtag, InvalidFields and PermissionMissing."""
        async with deed(self._database, caller, origin, "roles:manage") as doing:
            role = await _changeable(doing.statements, caller.tenant, role_id, etag)
            doing.require_all(role.permissions)
            await rows.delete(doing.statements, caller.tenant, UUID(role.role_id))
            await doing.record("role.delete", role.role_id, **_told(role))


async def _changeable(statements: Statements, organization_id: UUID, role_id: str, etag: str) -> Role:
    role = await find(statements, organization_id, role_id)
    if role.built_in:
        raise InvalidFields(id=BUILT_IN)
    if etag not in ("", role.etag):
        raise StaleEtag(role.etag)
    return role


def _check_mask(mask: Sequence[str]) -> None:
    if not mask:
        raise InvalidFields(update_mask="must name at least one field")
    if unknown := sorted(set(mask) - RULES.keys()):
        raise InvalidFields(update_mask=f"names what cannot be changed: {unknown[0][:100]}")


def _check(wanted: Role, paths: Sequence[str]) -> None:
    fields.check({path: getattr(wanted, path) for path in paths}, RULES)
    if "name" in paths and wanted.name.lower() in STANDARD:
        raise RoleNameTaken(wanted.name)


def _values(role: Role) -> tuple[str, str, list[str]]:
    return role.name, role.description, sorted(role.permissions)


def _told(role: Role) -> dict[str, str]:
    return {"name": role.name, "permissions": " ".join(sorted(role.permissions))}
