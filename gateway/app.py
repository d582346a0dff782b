"""The gateway's one ASGI application: what is asked often is answered before any routing."""

import time
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from gateway.metrics import HttpMetrics
from gateway.pages import PATHS, wants_graphiql
from gateway.transports.http import HttpTransport
from gateway.transports.websocket import WebSocketTransport

HEALTHY = b'{"status":"ok"}'
HEALTH_START: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(HEALTHY))],
}
HEALTH_BODY: dict[str, Any] = {"type": "http.response.body", "body": HEALTHY}
METHODS = {"GET", "POST"}
OTHER = "other"


@dataclass(frozen=True, slots=True)
class App:
    """Sends a request to where it belongs, and counts it."""

    http: HttpTransport
    websocket: WebSocketTransport
    pages: Starlette
    metrics: HttpMetrics
    has_graphiql: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await (self.websocket if scope["path"] == "/graphql" else self.pages)(scope, receive, send)
            return
        start = time.perf_counter()
        path, method = scope["path"], scope["method"]
        if path == "/health":
            await send(HEALTH_START)
            await send(HEALTH_BODY)
            status = 200
        elif path == "/graphql" and not (self.has_graphiql and wants_graphiql(scope)):
            await self._graphql(scope, receive, send, start)
            return
        else:
            status = await self._page(scope, receive, send)
        self._count(method, path if path in PATHS else OTHER, status, start)

    async def _graphql(self, scope: Scope, receive: Receive, send: Send, start: float) -> None:
        """Counted before it is judged, which may find that its trace is an example worth keeping."""
        status, running = await self.http(scope, receive, send)
        self._count(scope["method"], "/graphql", status, start, running.trace.trace_id if running else "")
        if running is not None:
            running.end()

    def _count(self, method: str, path: str, status: int, start: float, trace_id: str = "") -> None:
        method = method if method in METHODS else OTHER
        self.metrics.count(method, path, status, time.perf_counter() - start, trace_id)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> int:
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self.pages(scope, receive, noting)
        return status
