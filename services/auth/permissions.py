"""What there is to be allowed, and what each role and each of our own services may do."""

from collections.abc import Mapping
from typing import Any

from services.runtime.caller import covers
from services.runtime.postgres import Row

KNOWN: Mapping[str, str] = {
    "agents:read": "Read agents, their versions and relations.",
    "agents:write": "Create and change agents and their relations.",
    "executions:read": "Read the runs of agents.",
    "executions:write": "Start and finish runs of agents.",
    "knowledge:read": "Read collections, and search them.",
    "knowledge:write": "Create collections, and store points and documents.",
    "graph:read": "Walk the graph of who knows, uses and supervises whom.",
    "members:read": "See who belongs to the organization, and explain what they may do.",
    "members:manage": "Invite and remove members, give them roles, and see their e-mail addresses.",
    "roles:manage": "Create, change and delete the organization's own roles.",
    "api_keys:read": "See the organization's API keys.",
    "api_keys:write": "Create, rotate and revoke API keys.",
    "audit:read": "Read the organization's audit log.",
    "organization:write": "Change the organization itself.",
    "events:read": "Follow the changes of all organizations. Only for services.",
    "traces:read": "Read traces and who owes their latency. Only for services.",
    "traces:write": "Hand in traces. Only for services.",
    "projection:read": "Read how far the graph follows its feeds. Only for services.",
    "clients:vouch": "Say from which address and device a call comes. Only for services.",
    "installation:keys": "Rotate and revoke signing keys. Only for services.",
    "installation:audit": "Verify the audit logs of all organizations. Only for services.",
}
"""Every permission that an access rule may ask for, and what it lets its bearer do. `agents:*` is all of agents."""

VIEWER = frozenset({"agents:read", "executions:read", "knowledge:read", "graph:read", "members:read"})
EDITOR = VIEWER | {"agents:write", "executions:write", "knowledge:write"}
ADMIN = EDITOR | {
    "agents:*",
    "executions:*",
    "knowledge:*",
    "graph:*",
    "members:*",
    "roles:*",
    "api_keys:*",
    "audit:read",
}
OWNER = ADMIN | {"organization:*", "audit:*"}

ROLES = {"viewer": VIEWER, "editor": EDITOR, "admin": ADMIN, "owner": OWNER}
"""The built-in ones, by their ids."""
CUSTOM = "custom"
"""What stands for a role in a membership that has one of the organization's own."""

SERVICES = {
    "graph": frozenset({"events:read"}),
    "gateway": frozenset({"traces:write", "clients:vouch"}),
    "cli": frozenset({"traces:read", "projection:read", "installation:keys", "installation:audit"}),
}
"""Beyond any organization's reach, and so in no role."""


def of(row: Row | Mapping[str, Any]) -> frozenset[str]:
    """What a membership gives now: `role` is built in, or `custom` with the role's own `role_permissions`."""
    return frozenset(row["role_permissions"]) if row["role"] == CUSTOM else ROLES[row["role"]]


def within(granted: frozenset[str], limit: frozenset[str]) -> frozenset[str]:
    """What of the granted permissions lies within a limit: of a wildcard, as much as the limit has of its area."""
    return frozenset(each for each in granted if covers(limit, each)) | frozenset(
        each for each in limit if covers(granted, each)
    )


def beyond(granted: frozenset[str], wanted: frozenset[str]) -> list[str]:
    """Those wanted that the granted ones do not cover."""
    return sorted(each for each in wanted if not covers(granted, each))


def grantable() -> Mapping[str, str]:
    """Those that a role may have, with their sentences: what an owner has."""
    return {permission: sentence for permission, sentence in KNOWN.items() if covers(OWNER, permission)}


def is_known(permission: str) -> bool:
    """Whether it is one, or the wildcard of an area that has some."""
    area, _, deed = permission.partition(":")
    return permission in KNOWN or (deed == "*" and any(each.startswith(f"{area}:") for each in KNOWN))
