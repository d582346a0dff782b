"""Why someone may do something, or may not: what decides, as a word for programs and a sentence for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from services.auth import roles
from services.auth.permissions import is_known
from services.auth.roles import Role
from services.auth.store import explanations as rows
from services.auth.store import memberships
from services.runtime import fields
from services.runtime.caller import Principal, covers
from services.runtime.errors import RoleNotFound
from services.runtime.fields import Rule, as_uuid, optional, text
from services.runtime.postgres import Database, Statements


class Cause(StrEnum):
    """What decides; see AccessCause in the proto."""

    ROLE = "the role {role} gives {matched}"
    API_KEY_SCOPE = "the API key's scope {matched} gives it, and its creator's role {role} has it"
    SERVICE = "this service is given {matched}"
    ANONYMOUS = "readers without an account are given {matched}"
    ROLE_LACKS = "the role {role} does not give {permission}; {roles}"
    SCOPE_LACKS = "no scope of the API key gives {permission}"
    CREATOR_LACKS = "the API key's creator may not do it now; {roles}"
    NOT_GRANTED = "{permission} is given neither to this service nor to readers without an account"
    NOT_A_MEMBER = "there is no such member or API key in this organization"
    SESSION_ENDED = "the session that the token came from has ended"
    API_KEY_ENDED = "the API key is past its end, or was revoked"
    RESOURCE_NOT_FOUND = "nothing of this id is in this organization"
    PERMISSION_UNKNOWN = "there is no permission {permission}, so nothing gives it"


RULES: Mapping[str, Rule] = {
    "permission": text(1, 100),
    "subject_id": optional(text(0, 100)),
    "resource_id": optional(text(0, 200)),
}


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a subject of the caller's organization may do something to something."""

    permission: str
    subject_id: str = ""
    """A user's or an API key's; empty for the caller."""
    resource_id: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer."""

    cause: Cause
    permission: str
    allowed: bool = False
    role: Role | None = None
    matched: str = ""
    roles_that_would: Sequence[Role] = ()

    @property
    def sentence(self) -> str:
        """For people."""
        names = ", ".join(role.name for role in self.roles_that_would)
        would = f"so would: {names}" if names else "no role here does"
        name = self.role.name if self.role else "that there is none of"
        return self.cause.value.format(role=name, matched=self.matched, permission=self.permission, roles=would)


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a subject has, and which causes stand for having a permission and for lacking it."""

    granted: frozenset[str]
    gives: Cause
    lacks: Cause
    role: Role | None = None

    def on(self, permission: str) -> Explanation:
        if not covers(self.granted, permission):
            return Explanation(self.lacks, permission, role=self.role)
        matched = permission if permission in self.granted else f"{permission.partition(':')[0]}:*"
        return Explanation(self.gives, permission, True, self.role, matched)


class Explanations:
    """Explains by what the database says now, which tokens may be a moment behind."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def explain(self, caller: Principal, asked: Question) -> Explanation:
        """Raises InvalidFields, and PermissionMissing for another subject than the caller without `members:read`."""
        fields.check({name: getattr(asked, name) for name in RULES}, RULES)
        if asked.subject_id not in ("", caller.subject):
            caller.require("members:read")
        if not is_known(asked.permission):
            return Explanation(Cause.PERMISSION_UNKNOWN, asked.permission)
        if caller.organization_id is None:
            return _Standing(caller.permissions, Cause.SERVICE, Cause.NOT_GRANTED).on(asked.permission)
        async with self._database.tenant(caller.tenant, read_only=True) as statements:
            return await _explain(statements, caller, asked)


async def _explain(statements: Statements, caller: Principal, asked: Question) -> Explanation:
    if asked.subject_id in ("", caller.subject) and await _session_has_ended(statements, caller):
        return Explanation(Cause.SESSION_ENDED, asked.permission)
    found = await _of_subject(statements, caller, asked)
    if found.allowed and asked.resource_id and not await _has(statements, caller.tenant, asked):
        return Explanation(Cause.RESOURCE_NOT_FOUND, asked.permission, role=found.role)
    if found.cause not in (Cause.ROLE_LACKS, Cause.CREATOR_LACKS):
        return found
    every = await roles.all_of(statements, caller.tenant)
    return replace(found, roles_that_would=[role for role in every if covers(role.permissions, asked.permission)])


async def _session_has_ended(statements: Statements, caller: Principal) -> bool:
    known = as_uuid(caller.session_id)
    row = await rows.session(statements, caller.tenant, known) if known else None
    return bool(row and row["ended"])


async def _of_subject(statements: Statements, caller: Principal, asked: Question) -> Explanation:
    subject_id = asked.subject_id or caller.subject
    if subject_id == caller.subject and caller.subject_type == "anonymous":
        return _Standing(caller.permissions, Cause.ANONYMOUS, Cause.NOT_GRANTED).on(asked.permission)
    known = as_uuid(subject_id)
    if known is None:
        return Explanation(Cause.NOT_A_MEMBER, asked.permission)
    member = await memberships.get(statements, caller.tenant, known)
    if member is None:
        return await _of_api_key(statements, caller.tenant, known, asked.permission)
    role = roles.of_row(member)
    return _Standing(role.permissions, Cause.ROLE, Cause.ROLE_LACKS, role).on(asked.permission)


async def _of_api_key(statements: Statements, organization_id: UUID, api_key_id: UUID, permission: str) -> Explanation:
    key = await rows.api_key(statements, organization_id, api_key_id)
    if key is None:
        return Explanation(Cause.NOT_A_MEMBER, permission)
    if key["ended"]:
        return Explanation(Cause.API_KEY_ENDED, permission)
    creator = await memberships.of_creator(statements, organization_id, api_key_id)
    role = roles.of_row(creator) if creator else None
    by_scope = _Standing(frozenset(key["scopes"]), Cause.API_KEY_SCOPE, Cause.SCOPE_LACKS, role).on(permission)
    if by_scope.allowed and (role is None or not covers(role.permissions, permission)):
        return Explanation(Cause.CREATOR_LACKS, permission, role=role)
    return by_scope


async def _has(statements: Statements, organization_id: UUID, asked: Question) -> bool:
    """Whether the resource is in the organization, as far as auth has such things; the gateway asks for the others."""
    known = as_uuid(asked.resource_id)
    match asked.permission.partition(":")[0]:
        case "organization" | "audit":
            return known == organization_id
        case "members":
            return known is not None and await memberships.get(statements, organization_id, known) is not None
        case "api_keys":
            return known is not None and await rows.api_key(statements, organization_id, known) is not None
        case "roles":
            return await _has_role(statements, organization_id, asked.resource_id)
    return True


async def _has_role(statements: Statements, organization_id: UUID, role_id: str) -> bool:
    try:
        await roles.find(statements, organization_id, role_id)
    except RoleNotFound:
        return False
    return True
