"""An SMTP server that is not ours: it takes mails, or does not, as it is told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Sink:
    """What has come, and how it answers."""

    answers: dict[str, str] = field(default_factory=dict)
    """Command -> what is said to it instead of what is usual."""
    silent: bool = False
    """Accepts connections, and says nothing."""
    port: int = 0
    recipients: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    """Of each mail: whether it came by TLS."""

    @property
    def url(self) -> str:
        """SMTP_URL of it, in clear."""
        return f"smtp://127.0.0.1:{self.port}?starttls=off"


USUAL: Mapping[str, str] = {
    "EHLO": "250 sink",
    "MAIL": "250 go on",
    "RCPT": "250 go on",
    "DATA": "354 go on",
    "RSET": "250 as you like",
    "QUIT": "221 farewell",
}


@asynccontextmanager
async def smtp_sink(tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Sink]:
    """A sink on a free port; with `tls` it offers STARTTLS."""
    sink = Sink(**options)
    talks: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await _talk(sink, tls, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await server.wait_closed()


async def _talk(
    sink: Sink, tls: ssl.SSLContext | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    if sink.silent:
        await reader.read()
        return
    encrypted = False
    await _say(writer, "220 sink")
    while line := (await reader.readline()).decode().strip():
        command = line[:4].upper()
        if command == "EHLO" and tls and not encrypted:
            await _say(writer, "250-sink\r\n250 STARTTLS")
            continue
        if command == "STAR" and tls:
            await _say(writer, "220 go on")
            await writer.start_tls(tls)
            encrypted = True
            continue
        answer = sink.answers.get(command, USUAL.get(command, "502 what?"))
        await _say(writer, answer)
        if command == "RCPT" and answer.startswith("250"):
            sink.recipients.append(line.partition(":")[2].strip("<>"))
        if command == "DATA" and answer.startswith("354"):
            await _take(sink, encrypted, reader, writer)
        if command == "QUIT":
            return


async def _take(sink: Sink, encrypted: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.readuntil(b"\r\n.\r\n")
    answer = sink.answers.get("END", "250 taken")
    if answer.startswith("250"):
        mail = message_from_bytes(data[:-5], policy=policy.default)
        assert isinstance(mail, EmailMessage)
        sink.mails.append(mail)
        sink.encrypted.append(encrypted)
    await _say(writer, answer)


async def _say(writer: asyncio.StreamWriter, text: str) -> None:
    writer.write(f"{text}\r\n".encode())
    await writer.drain()
