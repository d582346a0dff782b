"""How the process begins and ends."""

import asyncio
import signal
import socket
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from deploy.local.postgres import OWNER
from deploy.local.stack import Stack
from tests.gateway.clients import Client
from tests.gateway.running import gateway, line, start
from tests.services.vector_search.injection import slow_search

PROTOCOL = Subprotocol("graphql-transport-ws")


async def ended(environment: dict[str, str]) -> tuple[int | None, str]:
    """How a gateway ends that cannot start: its status and its words."""
    process = await start("gateway", environment)
    _, words = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, words.decode()


async def test_a_port_that_is_taken_is_one_clear_line(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        status, words = await ended({**stack.environment("gateway"), "LISTEN": listen})
    assert (status, words) == (1, f"The gateway cannot listen on {listen}: Address already in use.\n")


WRONG: list[tuple[dict[str, str], str]] = [
    ({"ANONYMOUS_ACCESS": "true", "ENVIRONMENT": "production"}, "ANONYMOUS_ACCESS must not be set"),
    ({"MAX_DEPTH": "0"}, "MAX_DEPTH"),
    ({"REQUEST_SECONDS": "soon"}, "REQUEST_SECONDS"),
    ({"GRAPH_TARGET": ""}, "GRAPH_TARGET"),
]


@pytest.mark.parametrize(("wrong", "named"), WRONG)
async def test_a_wrong_setting_ends_it_at_once_and_is_named(stack: Stack, wrong: dict[str, str], named: str) -> None:
    status, words = await ended({**stack.environment("gateway"), **wrong})
    assert status == 2
    assert named in words
    assert stack.secrets.services["gateway"] not in words


async def test_sigterm_lets_what_is_in_progress_end_and_sends_sockets_away(stack: Stack, stranger: Client) -> None:
    async with gateway(stack) as one:
        async with connect(one.socket_url, subprotocols=[PROTOCOL], proxy=None) as listener:
            await listener.send('{"type": "connection_init"}')
            await listener.recv()
            asking = [asyncio.create_task(one.client.post({"query": "{ __typename }"})) for _ in range(10)]
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            one.process.send_signal(signal.SIGTERM)
            await line(one.process, "draining")
            assert {answer.status_code for answer in await asyncio.gather(*asking)} == {200}
            draining = (await one.client.http.get("/ready")).json()
            assert (draining["ready"], draining["draining"]) == (False, True)
            await asyncio.wait_for(listener.wait_closed(), 10)
            assert listener.close_code == 1001
        assert await asyncio.wait_for(one.process.wait(), 15) == 0
        with pytest.raises(httpx.ConnectError):
            await one.client.post({"query": "{ __typename }"})


async def test_a_request_has_the_time_that_the_setting_says(stack: Stack, world: Any) -> None:
    query = 'query ($id: ID!) { agent(id: $id) { knowledge(query: "anything") { text } } }'
    async with (
        gateway(stack, REQUEST_SECONDS="0.5") as one,
        slow_search(stack.database_url(OWNER), milliseconds=5_000),
    ):
        error = await Client(one.client.http, world.client.token).error(query, id=world.agent_id)
    assert error["extensions"]["code"] == "DEADLINE_EXCEEDED"


async def test_a_body_that_does_not_come_is_not_waited_for(stack: Stack) -> None:
    async with gateway(stack, REQUEST_SECONDS="0.2") as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(one.url.rpartition(":")[2]))
        writer.write(
            b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
        )
        received = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in received


async def test_without_tracing_answers_still_say_their_trace(stack: Stack) -> None:
    async with gateway(stack, TRACING="off") as one:
        response = await one.client.post({"query": "{ nothing }"}, **{"server-timing": "1"})
    assert response.headers["traceresponse"].split("-")[1] == response.json()["errors"][0]["extensions"]["traceId"]
    assert "," not in response.headers["server-timing"]
