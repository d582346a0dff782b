"""Listening: uvicorn with our own way to begin and to end."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from gateway.app import App
from gateway.settings import GatewaySettings
from gateway.transports.health import HealthProtocol
from services.runtime.garbage import spare_the_collector

KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 that load balancers keep a connection for, so that they are the ones to close it."""

log = structlog.get_logger()


def bind(listen: str) -> socket.socket:
    """A socket on host:port. Ends the process with one clear line where that cannot be had."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
    except OSError as error:
        raise SystemExit(f"The gateway cannot listen on {listen}: {error.strerror}.") from None
    return listener


async def serve(
    app: App, listener: socket.socket, settings: GatewaySettings, leave: Callable[[], Awaitable[None]]
) -> None:
    """Answer until SIGTERM or SIGINT; then `leave`, stop accepting, and let what is in progress end."""
    HealthProtocol.metrics = app.metrics
    config = uvicorn.Config(
        app,
        loop="none",
        http=HealthProtocol,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds),
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,
    )
    spare_the_collector()
    log.info("listening", port=listener.getsockname()[1])
    await _Server(config, leave).serve([listener])
    log.info("stopped")


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, leave: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._leave = leave

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's own, which raises the signal again at the end and so never exits with 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("draining")
        await self._leave()
        await super().shutdown(sockets)
