"""Mails: noted with the deed, sealed, and sent at least once, whatever the server does."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.local import ports
from deploy.local.postgres import OWNER
from deploy.local.stack import Stack
from services.auth.mail import Mail, Mailer, Sending, Writer
from services.auth.mailers import FolderMailer, SmtpMailer, checked
from services.auth.sealing import Keyring
from services.auth.store import mails as rows
from services.runtime import postgres
from services.runtime.postgres import Database, Row
from tests.services.auth.smtp_sink import smtp_sink

KEYRING = Keyring("a secret of thirty-two characters")
WRITER = Writer(KEYRING, "Neurectomy <auth@example.org>", "https://example.org")
VALUES = {"code": "nrctmy_reset_swordfish", "minutes": "30"}
RECIPIENT = "ada@example.org"


@pytest_asyncio.fixture(loop_scope="session")
async def database(stack: Stack) -> AsyncIterator[Database]:
    """With a table of its own: the stack's auth sends what is in the other one."""
    schema = f"mail_{uuid4().hex}"
    async with postgres.connect(stack.database_url(OWNER), max_size=5, init=_in(schema)) as owner:
        async with owner.all_tenants() as statements:
            await statements.execute("create", f"CREATE SCHEMA {schema}")
            await statements.execute("create", f"CREATE TABLE {schema}.mails (LIKE auth.mails INCLUDING ALL)")
        yield owner
        async with owner.all_tenants() as statements:
            await statements.execute("drop", f"DROP SCHEMA {schema} CASCADE")


def _in(schema: str) -> postgres.Init:
    async def init(connection: "asyncpg.Connection[Row]") -> None:
        await connection.execute(f"SET search_path = {schema}")

    return init


async def note(database: Database, recipient: str = RECIPIENT, expires_at: datetime | None = None) -> None:
    async with database.all_tenants() as statements:
        await Mail(KEYRING).enqueue(statements, recipient, "password_reset", VALUES, expires_at)


def sending(database: Database, mailer: Mailer) -> Sending:
    """It tries again at once."""
    return Sending(database, WRITER, mailer, first_pause=0.0)


async def left(database: Database) -> list[tuple[int, bytes]]:
    async with database.all_tenants() as statements:
        found = await statements.fetch("look", "SELECT tries, sealed FROM mails")
    return [(row["tries"], row["sealed"]) for row in found]


async def test_a_mail_arrives_and_is_forgotten(database: Database) -> None:
    await note(database)
    [(tries, sealed)] = await left(database)
    assert tries == 0
    assert not [word for word in (b"swordfish", b"ada", b"example") if word in sealed]
    async with smtp_sink() as sink:
        assert await sending(database, SmtpMailer(sink.url)).send_due() == 1
    [mail] = sink.mails
    check_reset(mail)
    assert sink.recipients == [RECIPIENT]
    assert await left(database) == []


def check_reset(mail: EmailMessage) -> None:
    assert (mail["To"], mail["Subject"]) == (RECIPIENT, "Reset your Neurectomy password")
    assert mail["From"] == WRITER.sender
    assert "https://example.org/reset-password?code=nrctmy_reset_swordfish" in mail.get_content()


async def test_what_is_rolled_back_is_not_sent(database: Database) -> None:
    async def fail() -> None:
        async with database.all_tenants() as statements:
            await Mail(KEYRING).enqueue(statements, RECIPIENT, "password_reset", VALUES)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await left(database) == []


LATER = {
    "not now": {"RCPT": "451 later"},
    "not this one now": {"END": "451 later"},
    "no such service": {"EHLO": "421 closing", "HELO": "421 closing"},
    "not that sender": {"MAIL": "550 no"},
}
NEVER = {"nobody there": {"RCPT": "550 no such user"}, "not that text": {"END": "554 spam"}}


@pytest.mark.parametrize("answers", LATER.values(), ids=LATER)
async def test_what_may_work_later_is_tried_again(database: Database, answers: dict[str, str]) -> None:
    await note(database)
    async with smtp_sink(answers=answers) as sink:
        sender = sending(database, SmtpMailer(sink.url))
        await sender.send_due()
        assert [tries for tries, _ in await left(database)] == [1]
        assert sink.mails == []
        sink.answers.clear()
        await sender.send_due()
    assert len(sink.mails) == 1
    assert await left(database) == []


@pytest.mark.parametrize("answers", NEVER.values(), ids=NEVER)
async def test_what_is_refused_for_good_is_given_up(database: Database, answers: dict[str, str]) -> None:
    await note(database)
    async with smtp_sink(answers=answers) as sink:
        await sending(database, SmtpMailer(sink.url)).send_due()
    assert await left(database) == []


async def test_a_dead_and_a_silent_server_keep_nothing_up(database: Database) -> None:
    await note(database)
    port = ports.settle({"postgres": 0})["postgres"]
    await sending(database, SmtpMailer(f"smtp://127.0.0.1:{port}?starttls=off")).send_due()
    async with smtp_sink(silent=True) as sink:
        await sending(database, SmtpMailer(sink.url, answer_seconds=0.2)).send_due()
    assert [tries for tries, _ in await left(database)] == [2]


async def test_what_has_expired_and_what_is_nobodys_is_not_sent(database: Database) -> None:
    await note(database, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    await note(database, recipient="")
    async with smtp_sink() as sink:
        assert await sending(database, SmtpMailer(sink.url)).send_due() == 2
    assert sink.mails == []
    assert await left(database) == []


UNWRITABLE = ["no address", "ada@example.org\r\nBcc: eve@example.org", "a@b, c@d", "@"]


@pytest.mark.parametrize("recipient", UNWRITABLE)
async def test_what_is_no_recipient_gets_nothing(database: Database, recipient: str) -> None:
    await note(database, recipient=recipient)
    async with smtp_sink() as sink:
        await sending(database, SmtpMailer(sink.url)).send_due()
    assert sink.recipients == []
    assert await left(database) == []


async def test_values_cannot_add_headers_or_lines(database: Database) -> None:
    evil = {"code": "x\r\nBcc: eve@example.org\n\nClick here", "minutes": "$code"}
    async with database.all_tenants() as statements:
        await Mail(KEYRING).enqueue(statements, RECIPIENT, "password_reset", evil)
    async with smtp_sink() as sink:
        await sending(database, SmtpMailer(sink.url)).send_due()
    [mail] = sink.mails
    assert mail["Bcc"] is None
    assert "\nClick here" not in mail.get_content()
    assert "for $code minutes" in mail.get_content()


async def test_another_installations_mails_are_given_up(database: Database) -> None:
    async with database.all_tenants() as statements:
        await Mail(Keyring("another secret of thirty-two characters")).enqueue(
            statements, RECIPIENT, "password_reset", VALUES
        )
    async with smtp_sink() as sink:
        await sending(database, SmtpMailer(sink.url)).send_due()
    assert sink.mails == []
    assert await left(database) == []


async def test_replicas_do_not_send_the_same(database: Database) -> None:
    for _ in range(8):
        await note(database)
    async with smtp_sink() as sink:
        senders = [Sending(database, WRITER, SmtpMailer(sink.url)) for _ in range(4)]
        await asyncio.gather(*(sender.send_due() for sender in senders))
    assert len(sink.mails) == 8
    assert len({mail["Message-ID"] for mail in sink.mails}) == 8


async def test_one_that_was_taken_is_left_alone_for_a_while(database: Database) -> None:
    await note(database)
    async with database.all_tenants() as statements:
        assert len(await rows.take(statements, 8, 60.0, 3_600.0)) == 1
        assert await rows.take(statements, 8, 60.0, 3_600.0) == []


async def test_a_folder_gets_files_that_only_the_owner_reads(database: Database, tmp_path: Path) -> None:
    await note(database)
    await sending(database, FolderMailer(tmp_path / "mail")).send_due()
    [file] = (tmp_path / "mail").iterdir()
    assert (file.suffix, file.stat().st_mode & 0o777) == (".eml", 0o600)
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert isinstance(mail, EmailMessage)
    check_reset(mail)


def certified(folder: Path, name: str) -> ssl.SSLContext:
    """A server's context with a certificate that it signed itself, in `folder`."""
    key, subject = generate_private_key(SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    certificate = builder.add_extension(names, critical=True).sign(key, SHA256())
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


async def test_starttls_is_demanded_and_its_certificate_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["To"] = "auth@example.org", RECIPIENT
    message.set_content("text")
    async with AsyncExitStack() as resources:
        clear = await resources.enter_async_context(smtp_sink())
        with pytest.raises(Exception, match="STARTTLS"):
            await SmtpMailer(f"smtp://localhost:{clear.port}").send(message)
        sink = await resources.enter_async_context(smtp_sink(certified(tmp_path, "localhost")))
        with pytest.raises(ssl.SSLCertVerificationError):
            await SmtpMailer(f"smtp://localhost:{sink.port}").send(message)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        await SmtpMailer(f"smtp://localhost:{sink.port}").send(message)
    assert sink.encrypted == [True]
    assert clear.mails == []


BAD_URLS = [
    "http://example.org",
    "smtp://",
    "smtp://example.org/path",
    "smtp://u:p@example.org?starttls=off",
    "smtp://h?x=y",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_bad_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        checked(url)
