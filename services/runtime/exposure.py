"""Says at the start of a process in production which of its calls anyone on the network could read."""

import re
from collections.abc import Iterable
from ipaddress import ip_address

import structlog

from services.runtime.settings import Settings, TlsSettings

SCHEME = re.compile(r"^(dns|ipv4|ipv6):(//[^/]*/)?")
log = structlog.get_logger()


def warn_of_plaintext(settings: Settings, addresses: Iterable[str]) -> None:
    """One line, where there is something to say. A mesh may encrypt what we do not, so it is no reason to stop."""
    exposed = sorted({address for address in addresses if address and not is_loopback(address)})
    if settings.environment == "production" and settings.tls is None and exposed:
        missing = [key.upper() for key in TlsSettings.model_fields]
        log.warning("calls cross the network in plaintext, tokens too", addresses=exposed, missing=missing)


def is_loopback(address: str) -> bool:
    """Of host:port, or of a gRPC target such as `dns:///auth:50051` or `unix:/run/auth`."""
    if address.startswith("unix"):
        return True
    host = SCHEME.sub("", address).rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
