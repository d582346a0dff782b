"""Channels with mTLS that follow their certificate.

A channel of gRPC's shows for all its life what it was made with, at reconnects too. So a new channel takes the place of
the old one at the first call after the files have changed; calls under way, streams too, end on the old one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc

from services.runtime.background import detached
from services.runtime.tls import Tls

Options = Sequence[tuple[str, Any]]


@asynccontextmanager
async def following(target: str, tls: Tls, options: Options) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the target that shows the certificate of the day and verifies the target's name."""
    channel = _Following(target, tls, options)
    try:
        yield cast(grpc.aio.Channel, channel)
    finally:
        await channel.close()


class _Following:
    """What generated stubs need of a channel."""

    def __init__(self, target: str, tls: Tls, options: Options) -> None:
        self._target = target
        self._tls = tls
        self._options = options
        self._closing: set[asyncio.Task[None]] = set()
        self._retired: set[_Channel] = set()
        self._current = self._made()

    def current(self) -> "_Channel":
        """The channel for the next call."""
        if self._tls.current() is not self._current.shown:
            old, self._current = self._current, self._made()
            self._retired.add(old)
            self._close_if_idle(old)
        return self._current

    def begun(self, channel: "_Channel", call: Any) -> Any:
        """A call of the channel's, which it stays open for."""
        channel.calls += 1

        def ended(_call: Any) -> None:
            channel.calls -= 1
            self._close_if_idle(channel)

        call.add_done_callback(ended)
        return call

    def unary_unary(self, method: str, *args: Any, **options: Any) -> "_Method":
        return _Method(self, "unary_unary", (method, *args), options)

    def stream_unary(self, method: str, *args: Any, **options: Any) -> "_Method":
        return _Method(self, "stream_unary", (method, *args), options)

    def unary_stream(self, method: str, *args: Any, **options: Any) -> "_Method":
        return _Method(self, "unary_stream", (method, *args), options)

    def stream_stream(self, method: str, *args: Any, **options: Any) -> "_Method":
        return _Method(self, "stream_stream", (method, *args), options)

    async def close(self) -> None:
        """End everything at once, as a channel does."""
        await asyncio.gather(*(each.channel.close() for each in (self._current, *self._retired)), *self._closing)

    def _made(self) -> "_Channel":
        return _Channel(self._target, self._tls, self._options)

    def _close_if_idle(self, channel: "_Channel") -> None:
        if channel in self._retired and not channel.calls:
            self._retired.discard(channel)
            closing = detached(channel.channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


class _Channel:
    """One of gRPC's, what it shows, and how many of its calls are under way."""

    def __init__(self, target: str, tls: Tls, options: Options) -> None:
        self.shown = tls.current()
        self.channel = grpc.aio.secure_channel(target, self.shown.channel_credentials(), options=options)
        self.calls = 0


class _Method:
    """A method of the channel of the day."""

    def __init__(self, following: _Following, shape: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._following = following
        self._shape = shape
        self._args = args
        self._options = options
        self._of: _Channel | None = None
        self._call: Any = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        channel = self._following.current()
        if channel is not self._of:
            self._call = getattr(channel.channel, self._shape)(*self._args, **self._options)
            self._of = channel
        return self._following.begun(channel, self._call(*args, **options))
