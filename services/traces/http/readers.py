"""Who may read traces over HTTP."""

from ipaddress import IPv6Address, ip_address

from starlette.requests import Request

from services.runtime.caller import bearer
from services.runtime.verifier import Verifier


class Readers:
    """Lets in whoever brings a token with the permission; where the page is open, also who is on this machine."""

    def __init__(self, verifier: Verifier, open_here: bool) -> None:
        self._verifier = verifier
        self._open_here = open_here

    async def admit(self, request: Request, permission: str) -> None:
        """Raises what is wrong with the token. One that is given counts, also where none is needed."""
        header = request.headers.get("authorization")
        if header is None and self._open_here and _is_here(request):
            return
        principal = await self._verifier.verify(bearer(header))
        principal.require(permission)


def _is_here(request: Request) -> bool:
    if request.client is None:
        return False
    address = ip_address(request.client.host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
