"""Work that goes on beside other work, and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Any, TypeVar

CANCEL_SECONDS = 0.5

T = TypeVar("T")


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do endless work beside the block; at the block's end it is cancelled and waited for."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        while not task.done():  # redis-py swallows a cancellation while it connects
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_SECONDS)
        with suppress(asyncio.CancelledError):
            await task


def detached(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """A task of no request, also where a request was what set it going: for work that others' requests share."""
    return asyncio.create_task(work, context=Context())
