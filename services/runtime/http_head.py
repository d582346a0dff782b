"""uvicorn's protocol with bounds for the head of a request, which it lets be as large and as slow as a client likes."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
MAX_HEAD_BYTES = 1_000_000
"""A query of the largest size, percent-encoded, fits into the address."""


class BoundedHead(HttpToolsProtocol):
    """Closes a connection whose next request does not get past its head. One that is idle in between is uvicorn's."""

    seconds = HEAD_SECONDS
    _in_head = True
    _head_bytes = 0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(self.seconds, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._past_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        was_in_head = self._in_head
        super().data_received(data)
        if not self._in_head:
            if self._late is not None:
                self._past_head()
            return
        self._head_bytes += len(data) if was_in_head else 0  # or else it holds the end of the request before
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()
        elif self._late is None:
            self._late = self.loop.call_later(self.seconds, self.transport.close)

    def _past_head(self) -> None:
        self._head_bytes = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None
