"""From where someone calls: for the list of sessions, the audit log, and the limits on attempts.

Clients come through the gateway, so the peer of their calls is the gateway. It sends the client's address along, with a
token of its own beside that vouches for it; from anyone else such words are not believed.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address

from services.runtime.errors import DomainError
from services.runtime.scopes import Call, Context
from services.runtime.verifier import Verifier

MAX_DEVICE = 300
ADDRESS_KEY, DEVICE_KEY, VOUCHER_KEY = "client-address", "client-device", "client-voucher"
"""The same as the gateway's (gateway/clients.py)."""
PERMISSION = "clients:vouch"


@dataclass(frozen=True, slots=True)
class Origin:
    """An IP address and what the client calls itself; both empty where they are not known."""

    address: str = ""
    device: str = ""


_vouched: ContextVar[Origin | None] = ContextVar("vouched", default=None)


def origin_of(context: Context) -> Origin:
    """The client that the gateway vouched for, or else the peer of the call."""
    return _vouched.get() or _peer(context)


class OriginScope:
    """Believes what a call says of its client if whoever sends it may vouch for clients."""

    __slots__ = ("_call", "_verifier")

    def __init__(self, call: Call, verifier: Verifier) -> None:
        self._call = call
        self._verifier = verifier

    async def __aenter__(self) -> None:
        token = self._call.metadata.get(VOUCHER_KEY)
        if token and await self._may_vouch(token):
            _vouched.set(_told(self._call))

    async def __aexit__(self, *_: object) -> None:
        return None

    async def _may_vouch(self, token: str) -> bool:
        try:
            principal = await self._verifier.verify(token)
        except DomainError:
            return False
        return principal.subject_type == "service" and principal.allows(PERMISSION)


def _told(call: Call) -> Origin | None:
    """None where it makes no sense."""
    try:
        address = str(ip_address(call.metadata.get(ADDRESS_KEY, "")))
    except ValueError:
        return None
    return Origin(address, str(call.metadata.get(DEVICE_KEY, ""))[:MAX_DEVICE])


def _peer(context: Context) -> Origin:
    kind, _, rest = context.peer().partition(":")
    address = rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""
    return Origin(address, "")
