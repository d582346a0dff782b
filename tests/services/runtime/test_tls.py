"""Which certificates a process starts with, who is let in and who is believed: real servers, real channels."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.local.certificates import Authority, Pair
from services.runtime.channels import opened
from services.runtime.exposure import is_loopback, warn_of_plaintext
from services.runtime.settings import Settings, load
from tests.services.runtime.mutual import DAY, HOST, NOW, OTHERS, OURS, Files, asked, issued, serving

OK, REFUSED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
END = NOW - DAY / 24


async def no_certificate(target: str) -> grpc.StatusCode:
    credentials = grpc.ssl_channel_credentials(OURS.certificate.encode())
    async with grpc.aio.secure_channel(target, credentials) as channel:
        return await asked(channel)


async def plaintext(target: str) -> grpc.StatusCode:
    async with opened(target, None) as channel:
        return await asked(channel)


@pytest.mark.parametrize("client", [no_certificate, plaintext])
async def test_who_shows_nothing_is_refused(client: Callable[[str], object], tmp_path: Path) -> None:
    async with serving(Files(tmp_path).write(issued()).tls) as server:
        assert await client(server.target) is REFUSED  # type: ignore[misc]
        assert not server.callers


def made_by_a_process() -> Pair:
    """What can be made of a stolen key of ours: another certificate, which is nobody's to give but the authority's."""
    process, mine = issued(), OTHERS.issue("another", [HOST], NOW, NOW + DAY)
    own = x509.load_pem_x509_certificate(process.certificate.encode())
    copied = x509.load_pem_x509_certificate(mine.certificate.encode())
    draft = x509.CertificateBuilder(own.subject, copied.subject, copied.public_key(), copied.serial_number)
    draft = draft.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    signed = draft.sign(load_pem_private_key(process.key.encode(), None), SHA256())  # type: ignore[arg-type]
    return Pair(signed.public_bytes(Encoding.PEM).decode() + process.certificate, mine.key)


PEERS: list[tuple[str, Callable[[], Pair], Authority, str, grpc.StatusCode]] = [
    ("server", issued, OURS, "127.0.0.1", OK),
    ("server", lambda: issued(host="localhost"), OURS, "localhost", OK),
    ("server", lambda: issued(OTHERS), OURS, "127.0.0.1", REFUSED),
    ("server", lambda: issued(ends=END), OURS, "127.0.0.1", REFUSED),
    ("server", issued, OURS, "localhost", REFUSED),  # the name is another's
    ("server", issued, OTHERS, "127.0.0.1", REFUSED),  # does not trust our client
    ("client", lambda: issued(host="another.example"), OURS, "127.0.0.1", OK),  # a client is a process of ours, any one
    ("client", lambda: issued(OTHERS), OURS, "127.0.0.1", REFUSED),
    ("client", lambda: issued(ends=END), OURS, "127.0.0.1", REFUSED),
    ("client", made_by_a_process, OURS, "127.0.0.1", REFUSED),
    ("client", issued, OTHERS, "127.0.0.1", REFUSED),  # does not trust our server
]


@pytest.mark.parametrize(("side", "pair", "trusts", "host", "outcome"), PEERS)
async def test_a_peer_is_let_in_and_believed_by_its_certificate(
    side: str, pair: Callable[[], Pair], trusts: Authority, host: str, outcome: grpc.StatusCode, tmp_path: Path
) -> None:
    good, judged = Files(tmp_path / "good").write(issued()), Files(tmp_path / "judged").write(pair(), trusts)
    server_files, client_files = (judged, good) if side == "server" else (good, judged)
    async with serving(server_files.tls, host) as server, opened(server.target, client_files.tls) as channel:
        assert await asked(channel) is outcome
        assert len(server.callers) == (1 if outcome is OK else 0)


async def test_a_server_in_plaintext_is_not_talked_to(tmp_path: Path) -> None:
    async with serving(None) as server, opened(server.target, Files(tmp_path).write(issued()).tls) as channel:
        assert await asked(channel) is REFUSED


VERSIONS = [(ssl.TLSVersion.TLSv1_1, None), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
@pytest.mark.parametrize(("version", "had"), VERSIONS)
async def test_tls_1_2_is_the_oldest(version: ssl.TLSVersion, had: str | None, tmp_path: Path) -> None:
    files = Files(tmp_path).write(issued())
    context = files.context
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this client would itself refuse what is old
    context.minimum_version = context.maximum_version = version
    async with serving(files.tls) as server:
        host, _, port = server.target.partition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        except (ssl.SSLError, ConnectionError):
            assert had is None
            return
        assert writer.get_extra_info("ssl_object").version() == had
        writer.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_session_is_resumed_as_an_ended_certificate_would_be_in_it(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    files = Files(tmp_path).write(issued())
    context = files.context
    context.minimum_version = context.maximum_version = version
    async with serving(files.tls) as server:
        session, _ = await asyncio.to_thread(_connected, server.target, context, None)
        assert session is not None
        assert session.has_ticket
        _, is_reused = await asyncio.to_thread(_connected, server.target, context, session)
    assert not is_reused


def _connected(
    target: str, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool]:
    host, _, port = target.partition(":")
    with (
        socket.create_connection((host, int(port))) as plain,
        context.wrap_socket(plain, server_hostname=host, session=session) as connection,
    ):
        connection.recv(9)  # the server's first frame, which tickets come before
        return connection.session, bool(connection.session_reused)


def a_key_of_another(files: Files) -> None:
    files.paths["TLS_KEY"].write_text(issued().key)


def a_key_with_a_password(files: Files) -> None:
    key = load_pem_private_key(files.paths["TLS_KEY"].read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    files.paths["TLS_KEY"].write_bytes(locked)


def a_key_of_another_kind(files: Files) -> None:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.paths["TLS_KEY"].write_bytes(key)


def nonsense_in(setting: str) -> Callable[[Files], object]:
    return lambda files: files.paths[setting].write_text("-----BEGIN NONSENSE-----")


def no_file_of(setting: str) -> Callable[[Files], object]:
    return lambda files: files.paths[setting].unlink()


BAD: list[tuple[Callable[[Files], object], Mapping[str, str], str]] = [
    (
        lambda _: None,
        {"TLS_KEY": ""},
        "TLS_CERTIFICATE, TLS_KEY, TLS_AUTHORITY belong together; not set: TLS_KEY\n",
    ),
    (lambda _: None, {"TLS_CERTIFICATE": "", "TLS_AUTHORITY": ""}, "; not set: TLS_CERTIFICATE, TLS_AUTHORITY\n"),
    (lambda _: None, {"TRACES_ENDPOINT": "http://traces:50055"}, "TRACES_ENDPOINT must begin with https://"),
    (a_key_of_another, {}, "tls_key.pem is not the key of the certificate in TLS_CERTIFICATE"),
    (a_key_with_a_password, {}, "TLS_KEY: {folder}/tls_key.pem holds no unencrypted PEM key"),
    (a_key_of_another_kind, {}, "is neither an RSA key nor one of an elliptic curve"),
    *[
        (nonsense_in(setting), {}, f"{setting}: {{folder}}/")
        for setting in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_AUTHORITY")
    ],
    *[
        (no_file_of(setting), {}, f"{setting}: {{folder}}/{setting.lower()}.pem cannot be read: No such file")
        for setting in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_AUTHORITY")
    ],
]


@pytest.mark.parametrize(("spoil", "changed", "told"), BAD, ids=lambda value: str(value)[:60])
def test_what_cannot_work_is_refused_at_the_start(
    spoil: Callable[[Files], object],
    changed: Mapping[str, str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = Files(tmp_path).write(issued())
    for key, value in {**files.environment, **changed}.items():
        monkeypatch.setenv(key, value)
    spoil(files)
    with pytest.raises(SystemExit) as ended:
        load(Settings)
    assert ended.value.code == 2
    assert told.format(folder=tmp_path) in capsys.readouterr().err


def test_what_is_right_is_taken_and_its_end_is_a_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = issued(ends=NOW + 3 * DAY)
    for key, value in {**Files(tmp_path).write(pair).environment, "TRACES_ENDPOINT": "https://traces:50055"}.items():
        monkeypatch.setenv(key, value)
    tls = load(Settings).tls
    assert tls is not None
    assert tls.current().chain == pair.certificate.encode()
    end = REGISTRY.get_sample_value("tls_certificate_not_after_seconds")
    assert end == int((NOW + 3 * DAY).timestamp())


LOOPBACK = [
    "127.0.0.1:50051",
    "localhost:50051",
    "[::1]:50051",
    "dns:///127.3.2.1:50051",
    "unix:/run/auth",
    "ipv6:[::1]:1",
]
NETWORK = ["0.0.0.0:50051", "[::]:50051", "auth:50051", "dns:///auth:50051", "10.0.0.1:50051", "127.example:50051"]


@pytest.mark.parametrize("address", LOOPBACK + NETWORK)
def test_which_addresses_are_this_machines_own(address: str) -> None:
    assert is_loopback(address) is (address in LOOPBACK)


WARNED: list[tuple[str, bool, list[str], list[str]]] = [
    ("production", False, ["127.0.0.1:1", "0.0.0.0:50051", "auth:50051", ""], ["0.0.0.0:50051", "auth:50051"]),
    ("production", False, ["localhost:50051", "unix:/run/auth"], []),
    ("production", True, ["0.0.0.0:50051"], []),
    ("staging", False, ["0.0.0.0:50051"], []),
]


@pytest.mark.parametrize(("environment", "encrypted", "addresses", "exposed"), WARNED)
def test_production_in_plaintext_says_what_is_missing(
    environment: str,
    encrypted: bool,
    addresses: list[str],
    exposed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = Files(tmp_path).write(issued()).environment if encrypted else {}
    for key, value in {**files, "ENVIRONMENT": environment}.items():
        monkeypatch.setenv(key, value)
    with capture_logs() as lines:
        warn_of_plaintext(load(Settings), addresses)
    assert [line["addresses"] for line in lines] == ([exposed] if exposed else [])
    assert all(line["missing"] == ["TLS_CERTIFICATE", "TLS_KEY", "TLS_AUTHORITY"] for line in lines)
