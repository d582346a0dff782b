"""Points by the stream: checked as they come, stored at its end, all together or not at all."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

from services.runtime.errors import CollectionNotFound, DimensionMismatch, InvalidFields
from services.vector_search.collections import Collection, Collections, Metric
from services.vector_search.spool import Point, Spool
from services.vector_search.store import VectorStore
from services.vector_search.vectors import Matrix, to_binary, unacceptable

BATCH = 500
"""Small enough that the event loop is not held up for longer than a few milliseconds."""


@dataclass(frozen=True, slots=True)
class GivenPoint:
    """A point as a caller gave it."""

    point_id: UUID
    vector: Matrix
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a stream. No collection means the same as before."""

    collection_id: UUID | None
    points: Iterable[GivenPoint]


class Points:
    """Stores points that come by the stream."""

    def __init__(self, collections: Collections, store: VectorStore) -> None:
        self._collections = collections
        self._store = store

    async def upsert(self, organization_id: UUID, parts: AsyncIterator[Part]) -> int:
        """How many points were stored; of those with one id, only the last is.

        Raises CollectionNotFound, DimensionMismatch, InvalidFields and TooLarge.
        """
        first = await anext(parts, None)
        if first is None or first.collection_id is None:
            raise InvalidFields(collection_id="must be in the first message")
        known = await self._collections.known(organization_id, [first.collection_id])
        if first.collection_id not in known:
            raise CollectionNotFound(first.collection_id)
        with Spool() as spool:
            async for batch in _batches(known[first.collection_id], first, parts):
                spool.add(batch)
            return await self._store_all(organization_id, first.collection_id, spool)

    async def _store_all(self, organization_id: UUID, collection_id: UUID, spool: Spool) -> int:
        async with self._store.staging(organization_id) as staging:
            await staging.load(spool)
            await staging.hold(collection_id)
            return await staging.merge(collection_id)


async def _batches(collection: Collection, first: Part, parts: AsyncIterator[Part]) -> AsyncIterator[list[Point]]:
    """The points of the stream, checked, some hundred at a time."""
    batch: list[GivenPoint] = []
    part: Part | None = first
    while part is not None:
        if part.collection_id not in (None, collection.collection_id):
            raise InvalidFields(collection_id="must be the same in all messages")
        for point in part.points:
            batch.append(point)
            if len(batch) == BATCH:
                yield _checked(batch, collection)
                batch = []
        part = await anext(parts, None)
    if batch:
        yield _checked(batch, collection)


def _checked(batch: Sequence[GivenPoint], collection: Collection) -> list[Point]:
    """The points as they are stored, by themselves rather than as passages of a document."""
    for point in batch:
        if len(point.vector) != collection.dimension:
            raise DimensionMismatch(collection.dimension, len(point.vector))
    vectors = np.stack([point.vector for point in batch])
    if problem := unacceptable(vectors, collection.metric is Metric.COSINE):
        row, why = problem
        raise InvalidFields(**{"points.vector": f"of the point {batch[row].point_id} {why}"})
    return [
        Point(point.point_id, None, None, None, point.text, point.metadata, embedding)
        for point, embedding in zip(batch, to_binary(vectors), strict=True)
    ]
