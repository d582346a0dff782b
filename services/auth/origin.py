"""From where someone calls: for the list of sessions, the audit log, and the limits on attempts."""

from dataclasses import dataclass

from services.runtime.scopes import Context

MAX_DEVICE = 300


@dataclass(frozen=True, slots=True)
class Origin:
    """An IP address and what the client calls itself; both empty where they are not known."""

    address: str = ""
    device: str = ""


def origin_of(context: Context) -> Origin:
    """The peer of a call."""
    kind, _, rest = context.peer().partition(":")
    address = rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""
    return Origin(address, "")
