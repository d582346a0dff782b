"""A private authority, and certificates by it: for a stack on this machine, where nobody else hands them out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local.ports import HOST
from deploy.local.state import State, write_private
from services.runtime.tls import Tls

YEAR = timedelta(365)
CLOCKS_APART = timedelta(minutes=5)
"""How long before now a certificate begins."""
CURVE = ec.SECP256R1()


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


AUTHORITY = _name("Neurectomy, this machine")
USES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str


class Authority:
    """A new one, which nobody trusts yet. Its key is nowhere but here: who has it could make more of our processes."""

    def __init__(self, now: datetime) -> None:
        self._key = ec.generate_private_key(CURVE)
        draft = _draft(AUTHORITY, self._key, now, now + YEAR)
        draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = _text(draft.sign(self._key, hashes.SHA256()))
        """What those hold who trust it."""

    def issue(self, name: str, hosts: Sequence[str], begins: datetime, ends: datetime) -> Pair:
        """A certificate with a new key, for a server of these hosts and for a client."""
        key = ec.generate_private_key(CURVE)
        draft = _draft(_name(name), key, begins, ends).add_extension(USES, critical=False)
        draft = draft.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        draft = draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        return Pair(_text(draft.sign(self._key, hashes.SHA256())), _private(key))


class Certificates:
    """Those of a state folder: one for each process, and of the authority what those hold who trust it."""

    def __init__(self, state: State) -> None:
        self._state = state

    def begin(self, names: Iterable[str], now: datetime) -> Authority:
        """Make an authority for this run, and a certificate by it for each."""
        authority = Authority(now)
        write_private(self._authority, authority.certificate)
        for name in names:
            self.renew(authority, name, now)
        return authority

    def renew(self, authority: Authority, name: str, now: datetime) -> None:
        """A new certificate for a process, which takes it up when it is next called or calls."""
        pair = authority.issue(name, [HOST, "localhost", name.replace("_", "-")], now, now + YEAR)
        write_private(self._file(name, "certificate"), pair.certificate)
        write_private(self._file(name, "key"), pair.key)

    def environment(self, name: str) -> dict[str, str]:
        """Where a process finds its own."""
        files = {"TLS_CERTIFICATE": self._file(name, "certificate"), "TLS_KEY": self._file(name, "key")}
        return {key: str(file) for key, file in {**files, "TLS_AUTHORITY": self._authority}.items()}

    def tls(self, name: str) -> Tls:
        """The same for a process that is this one."""
        return Tls(self._file(name, "certificate"), self._file(name, "key"), self._authority)

    @property
    def _authority(self) -> Path:
        return self._state.folder("tls") / "authority.pem"

    def _file(self, name: str, what: str) -> Path:
        return self._state.folder("tls") / f"{name}.{what}.pem"


def _draft(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    draft = x509.CertificateBuilder().subject_name(subject).issuer_name(AUTHORITY).public_key(key.public_key())
    draft = draft.serial_number(x509.random_serial_number())
    return draft.not_valid_before(begins - CLOCKS_APART).not_valid_after(ends)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _private(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
