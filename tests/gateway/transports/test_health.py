"""Liveness: one answer, whatever else happens on the connection."""

import asyncio

import httpx
import pytest

from deploy.local.stack import Stack

GET = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
QUERY = b'{"query":"{ __typename }"}'
POST = b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"


async def exchange(stack: Stack, sent: bytes) -> bytes:
    """Everything that comes back on one connection until the other side closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.ports["gateway"])
    writer.write(sent)
    received = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return received


CLOSE = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
CONVERSATIONS: list[tuple[bytes, int]] = [
    (CLOSE, 1),
    (GET + GET + CLOSE, 3),
    (POST % (len(QUERY), QUERY) + GET + CLOSE, 3),
    (GET + POST % (len(QUERY), QUERY) + CLOSE, 3),
    (b"GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody" + CLOSE, 2),
    (b"GET /health HTTP/1.0\r\n\r\n", 1),
]


@pytest.mark.parametrize(("sent", "answers"), CONVERSATIONS)
async def test_each_request_of_a_connection_gets_its_own_answer(stack: Stack, sent: bytes, answers: int) -> None:
    received = await exchange(stack, sent)
    assert received.count(b"HTTP/1.1 200 OK\r\n") == answers
    assert received.count(b'{"status":"ok"}') == sent.count(b"GET /health")


@pytest.mark.parametrize("path", ["/health", "/health?probe=1"])
async def test_health_is_json(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert response.json() == {"status": "ok"}
    assert response.headers["content-type"] == "application/json"
