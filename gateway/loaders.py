"""Loaders: what many objects of one answer ask for is fetched with one call, and each thing once.

A fetch takes the services and the keys of one turn of the event loop, and returns what it found by key. It stands with
the resolvers that need it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from gateway.remote import Services

K = TypeVar("K")
V = TypeVar("V")
Fetch = Callable[[Services, Sequence[K]], Awaitable[Mapping[K, V]]]


class Loader(Generic[K, V]):
    """Lives as long as one request, so that nothing is shared between callers and nothing is stale."""

    __slots__ = ("_fetch", "_found", "_limit", "_queue", "_services", "_tasks", "_waiting")

    def __init__(self, fetch: Fetch[K, V], services: Services, limit: int) -> None:
        self._fetch = fetch
        self._services = services
        self._limit = limit
        self._found: dict[K, V | None] = {}
        self._queue: list[K] = []
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, key: K) -> "asyncio.Future[V | None]":
        """The key's value, None where there is none.

        Every caller gets a future of its own: graphql-core cancels what it does not need any more.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V | None] = loop.create_future()
        if key in self._found:
            future.set_result(self._found[key])
        elif waiting := self._waiting.get(key):
            waiting.append(future)
        else:
            if not self._queue:
                loop.call_soon(self._start)
            self._queue.append(key)
            self._waiting[key] = [future]
        return future

    def _start(self) -> None:
        """A task begins a turn later still, so that those who are woken up in this turn can join in."""
        task = asyncio.get_running_loop().create_task(self._send())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self) -> None:
        keys, self._queue = self._queue, []
        batches = [keys[at : at + self._limit] for at in range(0, len(keys), self._limit)]
        if len(batches) == 1:
            await self._send_batch(keys)
        else:
            await asyncio.gather(*map(self._send_batch, batches))

    async def _send_batch(self, keys: list[K]) -> None:
        try:
            found = await self._fetch(self._services, keys)
        except BaseException as error:
            self._fail(keys, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._settle(keys, found)

    def _settle(self, keys: list[K], found: Mapping[K, V]) -> None:
        for key in keys:
            value = self._found[key] = found.get(key)
            for future in self._waiting.pop(key):
                if not future.done():
                    future.set_result(value)

    def _fail(self, keys: list[K], error: BaseException) -> None:
        for key in keys:
            for future in self._waiting.pop(key):
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # whoever awaits it still gets it; nobody else needs to hear of it


class Loaders:
    """The loaders of one request, one for each fetch with each set of arguments."""

    __slots__ = ("_loaders", "_services")

    def __init__(self, services: Services) -> None:
        self._services = services
        self._loaders: dict[Any, Loader[Any, Any]] = {}

    def load(self, fetch: Callable[..., Any], key: Any, *arguments: Any, limit: int = 1_000) -> Any:
        """What `fetch(*arguments, services, keys)` finds for the key, together with its fellows."""
        kind = (fetch, *arguments)
        loader = self._loaders.get(kind)
        if loader is None:
            bound = partial(fetch, *arguments) if arguments else fetch
            loader = self._loaders[kind] = Loader(bound, self._services, limit)
        return loader.load(key)
