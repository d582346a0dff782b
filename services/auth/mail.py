"""Mails: written in the transaction of the deed that they tell of, and sent by a task beside, at least once.

    await mail.enqueue(statements, recipient, "invitation", {"organization": name, "code": code}, expires_at)

`mails/invitation.txt` is the template: its first line is the subject, and `$public_url` is known to all of them.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from string import Template
from typing import Protocol
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag
from uuid_utils.compat import uuid7

from services.auth.sealing import Keyring
from services.auth.store import mails as rows
from services.runtime.postgres import Database, Row, Statements

TEMPLATES = Path(__file__).with_name("mails")
PURPOSE = "mail"
KEPT = timedelta(days=1)
"""After so long a mail is given up."""
BATCH = 8
POLL_SECONDS = 1.0
LONGEST_PAUSE = 3_600.0
AGAIN_SECONDS = 5.0

log = structlog.get_logger()


class MailRefused(Exception):
    """It will never be taken; there is no point in trying again."""


class Mailer(Protocol):
    """Takes messages to where they go."""

    async def send(self, message: EmailMessage) -> None:
        """Return when someone else answers for it. Raises MailRefused, and anything else where it may yet work."""


class Mail:
    """Notes mails that are to be sent."""

    def __init__(self, keyring: Keyring, clock: Callable[[], float] = time.time) -> None:
        self._keyring = keyring
        self._clock = clock

    async def enqueue(
        self,
        statements: Statements,
        recipient: str,
        template: str,
        values: Mapping[str, str],
        expires_at: datetime | None = None,
    ) -> None:
        """Send it soon after the commit; not any more after `expires_at`, a day from now if left out.

        For no recipient the same is done as for any other, and nothing is sent.
        """
        mail_id = uuid7()
        letter = json.dumps({"recipient": recipient, "template": template, "values": dict(values)})
        sealed = self._keyring.sealed(letter.encode(), PURPOSE, str(mail_id))
        given_up = datetime.fromtimestamp(self._clock(), UTC) + KEPT
        await rows.insert(statements, mail_id, sealed, min(expires_at or given_up, given_up))


def when_and_where(now: datetime, address: str) -> Mapping[str, str]:
    """What a mail tells of a deed, whose owner may not be the one who did it."""
    return {"time": f"{now:%Y-%m-%d %H:%M} UTC", "address": address or "unknown"}


@dataclass(frozen=True, slots=True)
class Writer:
    """Makes messages of what was noted."""

    keyring: Keyring
    sender: str
    public_url: str

    def message(self, row: Row) -> EmailMessage | None:
        """None where there is no recipient. Raises MailRefused for what cannot be read, or be no message."""
        try:
            letter = json.loads(self.keyring.opened(row["sealed"], PURPOSE, str(row["mail_id"])))
            return self._written(letter, row) if letter["recipient"] else None
        except (InvalidTag, MessageError, ValueError, KeyError, OSError) as error:
            raise MailRefused(f"no message can be made of it: {error!r}") from error

    def _written(self, letter: Mapping[str, Mapping[str, str]], row: Row) -> EmailMessage:
        values = {name: " ".join(value.split()) for name, value in letter["values"].items()}
        text = (TEMPLATES / f"{letter['template']}.txt").read_text()
        subject, _, body = Template(text).substitute(values, public_url=self.public_url).partition("\n")
        message = EmailMessage(policy=SMTP)
        message["Subject"], message["From"] = subject, self.sender
        message["To"] = Address(addr_spec=str(letter["recipient"]))
        message["Date"] = format_datetime(row["created_at"])
        message["Message-ID"] = f"<{row['mail_id']}@neurectomy>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body.lstrip())
        return message


class Sending:
    """Sends what is due, with pauses that grow after each failure. Several processes may do so at once."""

    def __init__(self, database: Database, writer: Writer, mailer: Mailer, first_pause: float = 60.0) -> None:
        self._database = database
        self._writer = writer
        self._mailer = mailer
        self._first_pause = first_pause
        """Longer than a mailer may take, or another process would begin the same mail meanwhile."""

    async def run(self) -> None:
        """Never ends by itself."""
        while True:
            pause = POLL_SECONDS
            try:
                while await self.send_due() == BATCH:
                    pass
            except Exception as error:  # whatever it is, mails must not stop for good
                log.warning("mails are not sent", error=repr(error), again_in=AGAIN_SECONDS)
                pause = AGAIN_SECONDS
            await asyncio.sleep(pause)

    async def send_due(self) -> int:
        """Try a batch; return how many."""
        async with self._database.all_tenants() as statements:
            taken = await rows.take(statements, BATCH, self._first_pause, LONGEST_PAUSE)
        await asyncio.gather(*(self._try(row) for row in taken))
        return len(taken)

    async def _try(self, row: Row) -> None:
        about = {"mail_id": str(row["mail_id"]), "tries": row["tries"]}
        try:
            if row["expired"]:
                raise MailRefused("its time is over")
            if message := self._writer.message(row):
                await self._mailer.send(message)
        except MailRefused as error:
            log.error("a mail was given up", **about, error=str(error))
        except Exception as error:
            log.warning("a mail was not sent", **about, error=repr(error))
            return
        await self._done(row["mail_id"])

    async def _done(self, mail_id: UUID) -> None:
        async with self._database.all_tenants() as statements:
            await rows.delete(statements, mail_id)
