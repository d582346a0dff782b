"""uvicorn inside the traces process, beside its gRPC server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

from services.runtime.http_head import BoundedHead

MAX_AT_ONCE = 200
"""Connections and requests in progress; those beyond get 503, as each may hold a body."""

log = structlog.get_logger()


@asynccontextmanager
async def listening(app: ASGIApp, listener: socket.socket, grace_seconds: float) -> AsyncIterator[None]:
    """Answer on the socket inside the `async with`; at its end let what is in progress end."""
    config = uvicorn.Config(
        app,
        loop="none",
        http=BoundedHead,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_AT_ONCE,
        timeout_graceful_shutdown=int(grace_seconds),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    await server.ready.wait()
    log.info("listening", http_port=listener.getsockname()[1])
    try:
        yield
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for the gRPC server, which ends first and then ends us."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
