"""Every way in that asks for a token, and what it says to one: `ok`, the reason of a refusal, or the transport's."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import grpc
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from deploy.local.ports import HOST
from deploy.local.stack import Stack
from neurectomy.agent_store.v1 import agent_store_pb2
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.graph.v1 import graph_pb2
from neurectomy.graph.v1.graph_pb2_grpc import GraphServiceStub
from neurectomy.traces.v1 import traces_pb2
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from neurectomy.vector_search.v1 import vector_search_pb2
from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceStub
from services.runtime.errors import reason_of

OK = "ok"
NOBODY = str(UUID(int=1))
PROTOCOL = Subprotocol("graphql-transport-ws")
QUERY = {"query": "{ agents { id } }"}
PERMISSION_MISSING = "PERMISSION_MISSING"
"""What the traces service says to a tenant, whose token it has verified by then."""

STATUSES = {(401, "UNAUTHENTICATED"), (503, "SERVICE_UNAVAILABLE")}
OVERTAKEN = "TOKEN_REVOKED"
"""A service may have heard of a revocation a moment before the gateway: then it is what refuses, in a field."""

Door = Callable[[Stack, str], Awaitable[str]]


async def by_http(stack: Stack, token: str) -> str:
    """GraphQL by HTTP, byte by byte: clients would not send all of this."""
    status, body = await _posted(stack, b"Bearer " + token.encode(errors="surrogatepass"), json.dumps(QUERY).encode())
    if not body.startswith(b"{"):
        return f"HTTP {status}"
    errors = json.loads(body).get("errors")
    if not errors:
        return OK
    reason = str(errors[0]["extensions"]["reason"])
    assert (status, errors[0]["extensions"]["code"]) in STATUSES or (status, reason) == (200, OVERTAKEN), body
    return reason


async def _posted(stack: Stack, authorization: bytes, content: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(HOST, stack.ports["gateway"])
    head = b"POST /graphql HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-type: application/json\r\n"
    with suppress(ConnectionError):  # it may answer and leave before it has read all
        writer.write(
            b"%bcontent-length: %d\r\nauthorization: %b\r\n\r\n%b" % (head, len(content), authorization, content)
        )
        await writer.drain()
    answer = await reader.read()
    writer.close()
    lines, _, body = answer.partition(b"\r\n\r\n")
    return int(lines.split()[1]), body


async def by_websocket(stack: Stack, token: str) -> str:
    """GraphQL by WebSocket, where a token is in the first message; the close code is the answer."""
    url = stack.gateway_url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as socket:
        payload = {"Authorization": f"Bearer {token}"}
        await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        try:
            await socket.recv()
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": QUERY}))
            answer = json.loads(await socket.recv())
        except ConnectionClosed:
            return str(socket.close_code)
    assert answer["type"] == "next", answer
    return OK


async def by_message(stack: Stack, token: str) -> str:
    """auth's VerifyToken, where it is in the request."""
    async with grpc.aio.insecure_channel(stack.targets["auth"]) as channel:
        try:
            request = auth_pb2.VerifyTokenRequest(token=token)
            await AuthServiceStub(channel).VerifyToken(request)
        except grpc.aio.AioRpcError as error:
            return reason_of(error) or error.code().name
        except (ValueError, UnicodeEncodeError):
            return "NOT PROTOBUF"
    return OK


def _by_metadata(service: str, stub: Any, method: str, request: Any) -> Door:
    async def ask(stack: Stack, token: str) -> str:
        metadata = (("authorization", f"Bearer {token}"),)
        async with grpc.aio.insecure_channel(stack.targets[service]) as channel:
            try:
                await getattr(stub(channel), method)(request, metadata=metadata, timeout=30)
            except grpc.aio.AioRpcError as error:
                said = reason_of(error) or error.code().name
                return OK if said == PERMISSION_MISSING else said
            except (TypeError, ValueError, grpc.aio.UsageError, grpc.aio.InternalError) as error:
                return f"NOT GRPC: {error}"
        return OK

    return ask


DOORS: dict[str, Door] = {
    "gateway by HTTP": by_http,
    "gateway by WebSocket": by_websocket,
    "VerifyToken": by_message,
    "auth": _by_metadata("auth", AuthServiceStub, "GetCurrentUser", auth_pb2.GetCurrentUserRequest()),
    "agent_store": _by_metadata(
        "agent_store", AgentStoreServiceStub, "ListAgents", agent_store_pb2.ListAgentsRequest()
    ),
    "vector_search": _by_metadata(
        "vector_search", VectorSearchServiceStub, "ListCollections", vector_search_pb2.ListCollectionsRequest()
    ),
    "graph": _by_metadata("graph", GraphServiceStub, "ListNeighbors", graph_pb2.ListNeighborsRequest(node_id=NOBODY)),
    "traces": _by_metadata("traces", TracesServiceStub, "ListOperations", traces_pb2.ListOperationsRequest()),
}
