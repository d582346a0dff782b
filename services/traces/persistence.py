"""What the service knows, kept over its restart: changes are written together, as soon as the write before is done.

Whoever changed something waits for `saved`, and acknowledges after it. A commit holds all that had changed at one
instant, a report's sequence number with its latencies, so that after any crash both are there or neither.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from services.runtime.background import in_background
from services.traces import metrics
from services.traces.collector import Collector
from services.traces.latency import Latencies
from services.traces.store import Changes, Store, UnusableFile

FILE = "traces.db"
TICK_SECONDS = 10.0
"""How often what has grown old is dropped, and a write that failed is tried again."""

log = structlog.get_logger()


class Persistence:
    """Of latencies and kept traces. Without a store, or while that fails, all goes on in memory."""

    def __init__(
        self, store: Store | None, latencies: Latencies, collector: Collector, tick_seconds: float = TICK_SECONDS
    ) -> None:
        self._store = store
        self._latencies = latencies
        self._collector = collector
        self._tick_seconds = tick_seconds
        self._failing = False
        self._changed = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    async def saved(self) -> None:
        """Return when all that has changed until now is written, or cannot be."""
        if self._store is None or self._failing:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._changed.set()
        await waiter

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take up what was written, write in the background, and what is left at the end."""
        if self._store is not None:
            self._restore(self._store)
        with ThreadPoolExecutor(1, "store") as thread:
            try:
                async with in_background(self._run(thread)):
                    yield
            finally:
                await self._write(thread)
        if self._store is not None:
            self._store.close()

    def _restore(self, store: Store) -> None:
        unreadable = self._latencies.restore(store.sources(), store.latencies())
        unreadable += self._collector.restore(store.traces())
        if unreadable:
            log.error("rows of the traces file are left out, as they cannot be read", rows=unreadable)

    async def _run(self, thread: ThreadPoolExecutor) -> None:
        while True:
            await self._change_or_tick()
            waiting, self._waiting = self._waiting, []
            await self._write(thread)
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)

    async def _change_or_tick(self) -> None:
        try:
            async with asyncio.timeout(self._tick_seconds):
                await self._changed.wait()
        except TimeoutError:
            self._latencies.forget()
            self._collector.forget()
        self._changed.clear()

    async def _write(self, thread: ThreadPoolExecutor) -> None:
        changes = Changes(*self._latencies.changes(), self._collector.changes())
        if self._store is None or not changes:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._store.write, changes)
        except Exception as error:  # whatever it is, others wait for what is written next
            self._latencies.put_back(changes.latencies, changes.sources)
            self._collector.put_back(changes.traces)
            self._note_failure(error)
        else:
            self._failing = False

    def _note_failure(self, error: Exception) -> None:
        """Once for each time that the disk is full or away."""
        metrics.store_failures.inc()
        if not self._failing:
            log.error("traces are kept in memory only", reason=str(error))
        self._failing = True


def open_store(folder: Path | None) -> Store | None:
    """The store in a folder. A file that cannot be read is set aside; None where there is no writing at all."""
    if folder is None:
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _open(folder / FILE)
    except (OSError, sqlite3.Error) as error:
        metrics.store_failures.inc()
        log.error("traces are kept in memory only", folder=str(folder), reason=str(error))
        return None


def _open(file: Path) -> Store:
    try:
        return Store(file)
    except UnusableFile as error:
        aside = _set_aside(file)
        log.error("the traces file cannot be read and is set aside", file=str(aside), reason=str(error))
        return Store(file)


def _set_aside(file: Path) -> Path:
    """In the place of one that was set aside before."""
    aside = file.with_suffix(".unusable")
    file.replace(aside)
    for belonging in ("-wal", "-shm"):
        file.with_name(file.name + belonging).unlink(missing_ok=True)
    return aside
