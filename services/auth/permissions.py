"""What each role and each of our own services may do."""

VIEWER = frozenset({"agents:read", "executions:read", "knowledge:read", "graph:read", "members:read"})
EDITOR = VIEWER | {"agents:write", "executions:write", "knowledge:write"}
ADMIN = EDITOR | {"agents:*", "executions:*", "knowledge:*", "graph:*", "members:*", "api_keys:*", "audit:read"}
OWNER = ADMIN | {"organization:*", "audit:*"}

ROLES = {"viewer": VIEWER, "editor": EDITOR, "admin": ADMIN, "owner": OWNER}

SERVICES = {
    "graph": frozenset({"events:read"}),
    "gateway": frozenset({"traces:write", "clients:vouch"}),
    "cli": frozenset({"traces:read", "projection:read", "installation:keys", "installation:audit"}),
}
"""Beyond any organization's reach, and so in no role."""
