"""What surrounds every answer: headers that keep a browser from doing what the page does not need."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
HERE = {"localhost", "127.0.0.1", "[::1]"}


class Guard:
    """Adds the headers. With `only_this_machine` it answers only to this machine's own names.

    Otherwise a page from elsewhere whose name is pointed at 127.0.0.1 (DNS rebinding) could read what is open here.
    """

    def __init__(self, app: ASGIApp, only_this_machine: bool) -> None:
        self._app = app
        self._only_this_machine = only_this_machine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _complete(MutableHeaders(scope=message), scope["path"])
            await send(message)

        if self._only_this_machine and _name(Headers(scope=scope).get("host", "")) not in HERE:
            await PlainTextResponse("This answers only to localhost.\n", 421)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)


def _complete(headers: MutableHeaders, path: str) -> None:
    headers.update(HEADERS)
    # The page's files are asked for again each time, by their ETag; answers are never kept.
    headers.setdefault("cache-control", "no-store" if path.startswith(("/api/", "/v1/")) else "no-cache")


def _name(host: str) -> str:
    """The name without the port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()
