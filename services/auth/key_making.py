"""Making API keys: who may, what a new one may do, and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from services.auth import permissions
from services.auth.audit import Entry, append
from services.auth.key_format import digest, generate, shown_prefix
from services.auth.origin import Origin
from services.auth.store import api_keys as rows
from services.auth.store import sessions
from services.runtime.caller import Principal
from services.runtime.errors import PermissionMissing, TokenRevoked
from services.runtime.fields import as_uuid, text
from services.runtime.postgres import Row, Statements

MAX_NAME, MAX_SCOPES = 200, 100
LONGEST_NAMED, MOST_NAMED = 50, 3
"""How much of unknown scopes is repeated: trailers past 8 KiB kill the answer."""
FAR_FUTURE = datetime(9999, 12, 31, tzinfo=UTC)
NAME = text(1, MAX_NAME)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key, which nobody sees again, and what is stored of it."""

    key: str
    row: Row


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes a key, who answers for it, and until when it may live at most."""

    caller: Principal
    user_id: UUID
    ends: datetime
    origin: Origin


def scopes_within(granted: frozenset[str], wanted: frozenset[str]) -> frozenset[str]:
    """The scopes of a new key: those wanted, or all that its creator has. Raises PermissionMissing for one beyond."""
    for scope in permissions.beyond(granted, wanted):
        raise PermissionMissing(scope)
    return wanted or granted


def known(scopes: Sequence[str]) -> str | None:
    """A rule: what is wrong with the scopes, if anything is."""
    if len(scopes) > MAX_SCOPES:
        return f"must be at most {MAX_SCOPES}"
    unknown = sorted({scope[:LONGEST_NAMED] for scope in scopes if not permissions.is_known(scope)})
    return f"there is no permission {', '.join(unknown[:MOST_NAMED])}" if unknown else None


async def maker(statements: Statements, caller: Principal, origin: Origin) -> Maker:
    """The caller as a maker: looked up, for what makes keys must not have ended a moment ago. Raises TokenRevoked."""
    if caller.subject_type == "user":
        session_id = as_uuid(caller.session_id)
        if session_id is None or await sessions.lock_open(statements, session_id) is None:
            raise TokenRevoked
        return Maker(caller, UUID(caller.subject), FAR_FUTURE, origin)
    row = await rows.live(statements, UUID(caller.subject))
    if row is None:
        raise TokenRevoked
    return Maker(caller, row["user_id"], row["expires_at"] or FAR_FUTURE, origin)


async def insert(
    statements: Statements,
    by: Maker,
    name: str,
    scopes: frozenset[str],
    expires_at: datetime | None,
    action: str,
    old: Row | None = None,
) -> NewKey:
    """Make a key, in another one's place if that is given."""
    key, api_key_id, caller = generate(), uuid7(), by.caller
    ends = min(expires_at or FAR_FUTURE, by.ends)
    about = (api_key_id, caller.tenant, caller.subject, by.user_id, name, shown_prefix(key), digest(key))
    row = await rows.insert(statements, *about, sorted(scopes), None if ends == FAR_FUTURE else ends)
    details = {"name": name, "scopes": " ".join(sorted(scopes)), **({"old": str(old["api_key_id"])} if old else {})}
    await append(statements, caller.tenant, entry(action, caller, api_key_id, by.origin, **details))
    return NewKey(key, row)


def entry(action: str, caller: Principal, api_key_id: UUID, origin: Origin, **details: str) -> Entry:
    """What the audit log says of a deed to a key."""
    return Entry(action, caller.subject, caller.subject_type, str(api_key_id), origin.address, details)
