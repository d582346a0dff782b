"""Two ways for a message to go: by SMTP, and into a folder."""

import asyncio
import os
import smtplib
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit
from uuid import uuid4

import structlog
from pydantic import SecretStr

from services.auth.mail import Mailer, MailRefused

ANSWER_SECONDS = 10.0
"""How long the server may take for each step."""
PERMANENT = 500
PORTS = {"smtp": 587, "smtps": 465}

log = structlog.get_logger()


def mailer_of(smtp_url: SecretStr | None, folder: Path | None) -> Mailer | None:
    """By the settings; None where mails stay where they are until their time is over."""
    if smtp_url:
        return SmtpMailer(smtp_url.get_secret_value())
    if folder:
        return FolderMailer(folder)
    log.warning("mails are not sent: neither SMTP_URL nor MAIL_FOLDER is set")
    return None


class FolderMailer:
    """Writes each message as a file: for a machine without a mail server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: EmailMessage) -> None:
        """A name sorts by when it was written; a file is there whole or not at all, and readable by its owner only."""
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / f".{uuid4()}"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(bytes(message))
        new.rename(self._folder / f"{message['Message-ID'].strip('<>').partition('@')[0]}.eml")


class SmtpMailer:
    """Speaks to one server, anew for each message."""

    def __init__(self, url: str, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._url = checked(url)
        self._answer_seconds = answer_seconds
        self._tls = ssl.create_default_context()

    async def send(self, message: EmailMessage) -> None:
        """Raises MailRefused where the server says that it never will; OSError and SMTPException otherwise."""
        try:
            await _in_a_thread(lambda: self._deliver(message))
        except smtplib.SMTPRecipientsRefused as error:
            if all(code >= PERMANENT for code, _ in error.recipients.values()):
                raise MailRefused("the server refuses the recipient") from error
            raise
        except smtplib.SMTPDataError as error:
            if error.smtp_code >= PERMANENT:
                raise MailRefused(f"the server refuses the message with {error.smtp_code}") from error
            raise

    def _deliver(self, message: EmailMessage) -> None:
        with self._connected() as server:
            if self._url.username:
                server.login(unquote(self._url.username), unquote(self._url.password or ""))
            server.send_message(message)

    def _connected(self) -> smtplib.SMTP:
        host, port, seconds = self._url.hostname or "", self._url.port or PORTS[self._url.scheme], self._answer_seconds
        if self._url.scheme == "smtps":
            return smtplib.SMTP_SSL(host, port, timeout=seconds, context=self._tls)
        server = smtplib.SMTP(host, port, timeout=seconds)
        if _wants_starttls(self._url):
            try:
                server.starttls(context=self._tls)
            except BaseException:
                server.close()
                raise
        return server


def checked(url: str) -> SplitResult:
    """The parts of SMTP_URL. Raises ValueError."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/"):
        raise ValueError("must be smtp://HOST or smtps://HOST, with USER:PASSWORD@ and a port where needed")
    if options not in ({}, {"starttls": ["off"]}):
        raise ValueError("the one option is `?starttls=off`")
    if parts.username and parts.scheme == "smtp" and not _wants_starttls(parts):
        raise ValueError("a password is not sent in clear: leave `starttls=off` out")
    return parts


def _wants_starttls(parts: SplitResult) -> bool:
    return not parts.query


async def _in_a_thread(work: Callable[[], None]) -> None:
    """In a thread that nobody waits for when the process ends: a mail that it had begun is begun again."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(None)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as caught:
            error = caught
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="mail", daemon=True).start()
    await done
