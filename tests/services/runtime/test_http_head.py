"""Whoever does not get past the head of a request does not keep its connection; everyone else does."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from services.runtime.http_head import MAX_HEAD_BYTES, BoundedHead

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LINE = b"x: " + b"y" * 10_000 + b"\r\n"
PATIENCE = 20
LONG = 1.0


class Hasty(BoundedHead):
    """So that a test need not wait for long."""

    seconds = 0.2


async def _app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def _connected(protocol: type[BoundedHead] = Hasty) -> AsyncIterator[Streams]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(_app, http=protocol, lifespan="off", log_config=None, timeout_keep_alive=60))
    serving = asyncio.create_task(server._serve([listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await serving


UNFINISHED = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "no end": b"GET / HTTP/1.1\r\nhost: a\r\n",
    "a second one": REQUEST % 0 + b"GET / HTTP/1.1\r\nho",
}


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
async def test_a_head_that_does_not_end_ends_the_connection(sent: bytes) -> None:
    async with _connected() as (reader, writer), asyncio.timeout(PATIENCE):
        writer.write(sent)
        answer = await reader.read()
        assert answer.count(b" 204 ") == sent.count(b"POST")


async def test_the_head_of_the_next_request_must_end_as_well() -> None:
    async with _connected() as (reader, writer), asyncio.timeout(PATIENCE):
        writer.write(REQUEST % 0)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET / HT")
        assert await reader.read() == b""


async def _endless(writer: asyncio.StreamWriter) -> None:
    for _ in range(100 * MAX_HEAD_BYTES // len(LINE)):
        writer.write(LINE)
        await writer.drain()


async def test_a_head_without_end_ends_the_connection() -> None:
    async with _connected(BoundedHead) as (_, writer), asyncio.timeout(PATIENCE):
        writer.write(b"GET / HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            await _endless(writer)


async def test_a_body_may_be_slow_and_a_connection_idle() -> None:
    async with _connected() as (reader, writer), asyncio.timeout(PATIENCE):
        for _ in range(2):
            writer.write(REQUEST % 2 + b"a")
            await asyncio.sleep(LONG)
            writer.write(b"b")
            assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(LONG)
