"""Indexes: each large collection gets one, in the background."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import structlog

from services.vector_search.store import VectorStore

SWEEP_SECONDS = 5.0

log = structlog.get_logger()


@asynccontextmanager
async def indexing(store: VectorStore, threshold: int) -> AsyncIterator[None]:
    """Until the end, build an index for each collection that has so many points and none yet."""
    task = asyncio.create_task(_index_for_ever(store, threshold))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _index_for_ever(store: VectorStore, threshold: int) -> None:
    while True:
        try:
            await index(store, threshold)
        except Exception as error:  # whatever it is, the next round may do better
            log.warning("collections are not indexed", error=repr(error))
        await asyncio.sleep(SWEEP_SECONDS)


async def index(store: VectorStore, threshold: int) -> None:
    """Build all indexes that are due; one that cannot be built does not keep others from theirs."""
    for collection_id in await store.unindexed(threshold):
        await _build(store, collection_id)


async def _build(store: VectorStore, collection_id: UUID) -> None:
    try:
        if await store.build_index(collection_id):
            log.info("index built", collection_id=str(collection_id))
    except Exception as error:
        log.warning("index not built", collection_id=str(collection_id), error=repr(error))
