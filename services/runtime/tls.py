"""mTLS between our processes: the own certificate and the authority of all others, as they are on disk now."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from prometheus_client import Gauge

LOOK_SECONDS = 1.0
"""How often at most the files are looked at. Nobody looks while there are neither calls nor connections."""

not_after = Gauge("tls_certificate_not_after_seconds", "When the certificate in use ends, in seconds since 1970.")
log = structlog.get_logger()

T = TypeVar("T")


class TlsError(ValueError):
    """What is wrong with the files, by the setting that names them."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held at one moment, as PEM."""

    chain: bytes
    key: bytes
    authority: bytes
    expires: datetime

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Shows the own certificate, and wants one of the authority's for the server's name. TLS 1.2 at least."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.chain)

    def server_configuration(self) -> grpc.ServerCertificateConfiguration:
        """Shows the own certificate, and knows whose are to be accepted."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], self.authority)


class Tls:
    """Certificate chain, key and authority; replaced files are taken up, and bad ones are told of and left alone.

    Raises TlsError where the files are bad from the beginning.
    """

    def __init__(
        self, certificate: Path, key: Path, authority: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = (certificate, key, authority)
        self._clock = clock
        self._lock = threading.Lock()  # gRPC's and the exporters' threads ask, too
        self._signature = _signature(self._files)
        self._material = _read(*self._files)
        self._look = clock() + LOOK_SECONDS
        not_after.set(self._material.expires.timestamp())

    def current(self) -> Material:
        """The newest that can be used; the same object for as long as that is the same."""
        if self._clock() >= self._look:
            with self._lock:
                if self._clock() >= self._look:
                    self._take_up()
                    self._look = self._clock() + LOOK_SECONDS
        return self._material

    def _take_up(self) -> None:
        signature = _signature(self._files)
        if signature == self._signature:
            return
        self._signature = signature  # from before reading, so that what is written meanwhile is read the next time
        try:
            self._material = _read(*self._files)
        except TlsError as error:
            log.warning("new certificate cannot be used, the old one stays", problem=str(error))
            return
        not_after.set(self._material.expires.timestamp())
        log.info("certificate replaced", expires=self._material.expires.isoformat())


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """Refuses clients without a certificate of the authority's; each new connection meets what is on disk then.

    Each has a context of its own, so that no session is resumed: that would let in a certificate that has ended since.
    """

    def now() -> grpc.ServerCertificateConfiguration:
        return tls.current().server_configuration()

    return grpc.dynamic_ssl_server_credentials(now(), now, require_client_authentication=True)


def _signature(files: Iterable[Path]) -> tuple[object, ...]:
    """Differs when a file was written or replaced; of a missing one too."""
    return tuple(_stat(file) for file in files)


def _stat(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(certificate: Path, key: Path, authority: Path) -> Material:
    chain, private, authorities = (
        _content("TLS_CERTIFICATE", certificate),
        _content("TLS_KEY", key),
        _content("TLS_AUTHORITY", authority),
    )
    own = _parsed("TLS_CERTIFICATE", certificate, "PEM certificate", lambda: x509.load_pem_x509_certificates(chain))[0]
    _parsed("TLS_AUTHORITY", authority, "PEM certificate", lambda: x509.load_pem_x509_certificates(authorities))
    parsed = _parsed("TLS_KEY", key, "unencrypted PEM key", lambda: load_pem_private_key(private, None))
    if not isinstance(parsed, RSAPrivateKey | EllipticCurvePrivateKey):
        raise TlsError(f"TLS_KEY: {key} is neither an RSA key nor one of an elliptic curve")
    if parsed.public_key() != own.public_key():
        raise TlsError(f"TLS_KEY: {key} is not the key of the certificate in TLS_CERTIFICATE, {certificate}")
    return Material(chain, private, authorities, own.not_valid_after_utc)


def _content(setting: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TlsError(f"{setting}: {file} cannot be read: {error.strerror}") from None


def _parsed(setting: str, file: Path, kind: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (ValueError, TypeError) as error:  # TypeError for a key with a password
        raise TlsError(f"{setting}: {file} holds no {kind}") from error
