"""Invitations: a code that is mailed, and with which its reader joins an organization once (see joining.py)."""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from uuid_utils.compat import uuid7

from services.auth import permissions, roles
from services.auth.accounts import is_email
from services.auth.deeds import Deed, deed
from services.auth.mail import Mail
from services.auth.origin import Origin
from services.auth.roles import Role
from services.auth.store import accounts, memberships
from services.auth.store import invitations as rows
from services.runtime import fields
from services.runtime.caller import Principal
from services.runtime.errors import AlreadyMember, InvitationNotFound, TooLarge, TooManyAttempts
from services.runtime.fields import Rule, as_uuid
from services.runtime.postgres import Database, Row

CODE_PREFIX = "nrctmy_invitation_"
_SHAPE = re.compile(rf"{CODE_PREFIX}[A-Za-z0-9_-]{{43}}")
SECONDS = 7 * 86_400
MOST = 100
"""How many an organization may have that are open or less than an hour old: each is a mail to a stranger."""
MOST_TO_ADDRESS = 5
"""How many may go to one address within an hour."""
PERMISSION = "members:manage"
RULES: Mapping[str, Rule] = {"email": lambda email: None if is_email(email) else "must be an e-mail address"}


class Invitations:
    """The rules of inviting; whether an address has an account is never told to those who invite."""

    def __init__(self, database: Database, mail: Mail, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._mail = mail
        self._clock = clock

    async def create(self, caller: Principal, email: str, role_id: str, origin: Origin) -> Row:
        """A new one, in place of an open one of the address.

        Raises InvalidFields, RoleNotFound, PermissionMissing, AlreadyMember, TooManyAttempts and TooLarge.
        """
        fields.check({"email": email}, RULES)
        code = f"{CODE_PREFIX}{secrets.token_urlsafe(32)}"
        async with deed(self._database, caller, origin, PERMISSION) as doing:
            role = await roles.find(doing.statements, caller.tenant, role_id)
            doing.require_all(role.permissions)
            await _make_room(doing, email)
            row = await self._insert(doing, email, role, code)
            await self._send(doing, row, role, code)
            await doing.record("invitation.create", row["invitation_id"], role=role.role_id)
            return row

    async def _insert(self, doing: Deed, email: str, role: Role, code: str) -> Row:
        assert doing.author is not None
        expires_at = datetime.fromtimestamp(self._clock() + SECONDS, UTC)
        inviter_id, where = doing.author["user_id"], doing.organization_id
        about = (where, uuid7(), email, role.stored, inviter_id, digest(code), expires_at)
        return await rows.insert(doing.statements, *about)

    async def _send(self, doing: Deed, row: Row, role: Role, code: str) -> None:
        organization = await accounts.organization(doing.statements, doing.organization_id)
        inviter = await memberships.get(doing.statements, doing.organization_id, row["inviter_id"])
        assert organization is not None
        assert inviter is not None
        values = told(organization["name"], inviter["display_name"], role.name, code)
        await self._mail.enqueue(doing.statements, row["email"], "invitation", values, row["expires_at"])

    async def all_open(self, caller: Principal) -> list[Row]:
        """The open ones, newest first."""
        async with self._database.tenant(caller.tenant, read_only=True) as statements:
            return await rows.all_open(statements, caller.tenant)

    async def revoke(self, caller: Principal, invitation_id: str, origin: Origin) -> None:
        """Make a code worthless. Raises InvitationNotFound and PermissionMissing."""
        known = as_uuid(invitation_id)
        async with deed(self._database, caller, origin, PERMISSION) as doing:
            row = await rows.get(doing.statements, caller.tenant, known) if known else None
            if row is None:
                raise InvitationNotFound(invitation_id)
            doing.require_all(permissions.of(row))
            await rows.end(doing.statements, caller.tenant, row["invitation_id"])
            await doing.record("invitation.revoke", row["invitation_id"])


def told(organization: str, inviter: str, role: str, code: str) -> Mapping[str, str]:
    """What the mail says; see mails/invitation.txt."""
    return {"organization": organization, "inviter": inviter, "role": role, "code": code}


def digest(code: str) -> bytes:
    """What is stored of a code, its SHA-256; of what cannot be a code, something that is never stored."""
    return hashlib.sha256(code.encode()).digest() if _SHAPE.fullmatch(code) else b""


async def _make_room(doing: Deed, email: str) -> None:
    """End the open invitation of the address. Raises AlreadyMember, TooManyAttempts, TooLarge and PermissionMissing."""
    where = doing.organization_id
    if await memberships.by_email(doing.statements, where, email):
        raise AlreadyMember
    before = await rows.of_email(doing.statements, where, email)
    if before is not None:
        doing.require_all(permissions.of(before))
        await rows.end(doing.statements, where, before["invitation_id"])
    count = await rows.count_recent(doing.statements, where, email)
    if count["to_address"] >= MOST_TO_ADDRESS:
        raise TooManyAttempts(count["seconds"])
    if count["recent"] >= MOST:
        raise TooLarge(f"an organization has at most {MOST} invitations that are open or less than an hour old")
