"""Who is at the other end of a request: told to auth, which counts attempts by it and writes it down."""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from services.runtime.channels import Beside, Pairs, Token

ADDRESS_KEY, DEVICE_KEY, VOUCHER_KEY = "client-address", "client-device", "client-voucher"
"""The same as auth's (services/auth/origin.py)."""
MAX_DEVICE = 300
FORWARDED = {"x-forwarded-for": b"x-forwarded-for", "forwarded": b"forwarded"}

Scope = MutableMapping[str, Any]
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Client:
    """An IP address, empty where there is none, and what the client calls itself."""

    address: str
    device: str


_client: ContextVar[Client | None] = ContextVar("client", default=None)


def act_for(client: Client) -> None:
    """From now on, this task and its children tell auth of this client."""
    _client.set(client)


def voucher(token: Token) -> Beside:
    """What calls to auth say of the client, beside a token of the gateway's own; nothing where no client was noted."""

    async def vouched() -> Pairs:
        client = _client.get()
        if client is None or not client.address:
            return ()
        return (ADDRESS_KEY, client.address), (DEVICE_KEY, client.device), (VOUCHER_KEY, await token() or "")

    return vouched


@dataclass(frozen=True, slots=True)
class Clients:
    """Finds the client of a request, which may have come through proxies."""

    trusted: Sequence[Network] = ()
    """Where the proxies are that are believed."""
    header: str = "x-forwarded-for"
    """The one in which they say whom they speak for. Another one comes from the client, and means nothing."""

    def of(self, scope: Scope) -> Client:
        """The nearest address that is no trusted proxy: what is further away is only said by whoever is there."""
        peer = _parsed((scope.get("client") or ("",))[0])
        found = self._behind(peer, scope) if peer else None
        return Client(str(found or ""), _device(scope))

    def _behind(self, peer: Address, scope: Scope) -> Address:
        said = self._said(scope) if self._is_trusted(peer) else iter(())
        while self._is_trusted(peer) and (further := _parsed(next(said, ""))):
            peer = further
        return peer

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self.trusted)

    def _said(self, scope: Scope) -> Iterator[str]:
        """The addresses that proxies noted, the nearest first."""
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED[self.header]]
        read: Callable[[str], str] = _forwarded_for if self.header == "forwarded" else str.strip
        return (read(each) for line in reversed(lines) for each in reversed(line.split(",")))


def _forwarded_for(element: str) -> str:
    """The `for` of an element of RFC 7239."""
    for pair in element.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "for":
            return value.strip('"')
    return ""


def _parsed(text: str) -> Address | None:
    """An address, perhaps with a port; one of IPv4 inside IPv6 is itself."""
    host = (
        text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0] if text.count(":") == 1 else text
    )
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _device(scope: Scope) -> str:
    """Metadata carries printable ASCII."""
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")[:MAX_DEVICE]
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in agent)
