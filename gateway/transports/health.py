"""`GET /health`, answered by the connection itself: no task, no ASGI scope, no dependency.

An ASGI application, even an empty one, costs twice as much. The rest of a request's way is uvicorn's own.
"""

from typing import Any, ClassVar

from gateway.metrics import HttpMetrics
from services.runtime.http_head import BoundedHead

BODY = b'{"status":"ok"}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(BODY)
ANSWER = HEAD + b"\r\n" + BODY
LAST_ANSWER = HEAD + b"connection: close\r\n\r\n" + BODY


class _Answered:
    """Stands where uvicorn keeps the request in progress, for one that needs nothing more."""

    response_complete = True
    disconnected = False

    class message_event:  # noqa: N801 - it stands in for an asyncio.Event
        @staticmethod
        def set() -> None:
            """Nobody waits."""


class HealthProtocol(BoundedHead):
    """uvicorn's protocol, which knows one answer by heart."""

    metrics: ClassVar[HttpMetrics]

    def on_headers_complete(self) -> None:
        if self.url != b"/health" or not self._is_plain_get() or not self._idle():
            super().on_headers_complete()
            return
        self._in_head = False
        self.cycle = ANSWERED
        keep_alive = self.parser.should_keep_alive()
        self.transport.write(ANSWER if keep_alive else LAST_ANSWER)
        self.metrics.count("GET", "/health", 200, 0.0)
        if keep_alive:
            self.on_response_complete()
        else:
            self.transport.close()

    def _is_plain_get(self) -> bool:
        return bool(self.parser.get_method() == b"GET" and not self.parser.should_upgrade())

    def _idle(self) -> bool:
        """No earlier request of this connection still has to be answered."""
        return self.cycle is None or self.cycle.response_complete


ANSWERED: Any = _Answered()
