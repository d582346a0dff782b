"""Collections: how one is defined, found and listed."""

import base64
import binascii
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from services.runtime.errors import CollectionNameTaken, CollectionNotFound, InvalidFields, PageTokenInvalid
from services.runtime.postgres import Row
from services.vector_search.store import VectorStore
from services.vector_search.vectors import MAX_DIMENSION

MAX_NAME = 200
MAX_PAGE, DEFAULT_PAGE = 1_000, 50
KNOWN_SECONDS = 2.0
MAX_KNOWN = 10_000
TOKEN_PREFIX = b"name:"

Clock = Callable[[], float]


class Metric(StrEnum):
    """How the distance between two vectors is taken, by the names in the table."""

    COSINE = "cosine"
    L2 = "l2"
    INNER_PRODUCT = "inner_product"

    def score(self, distance: float) -> float:
        """The score, more of which is nearer, of pgvector's distance, which is negative for inner products."""
        return (1.0 if self is Metric.COSINE else 0.0) - distance


@dataclass(frozen=True, slots=True)
class Collection:
    """A set of points that are comparable with each other."""

    collection_id: UUID
    name: str
    dimension: int
    metric: Metric
    embedding_model: str
    point_count: int
    indexed: bool
    created_at: datetime

    @classmethod
    def of(cls, row: Row) -> Self:
        """The collection of a row."""
        return cls(**{**dict(row), "metric": Metric(row["metric"])})


@dataclass(frozen=True, slots=True)
class Definition:
    """What is to become a collection. No dimension is the model's own."""

    name: str
    dimension: int
    metric: Metric
    embedding_model: str

    def check(self) -> None:
        """Raise InvalidFields for what cannot be."""
        violations = {}
        if not 1 <= len(self.name) <= MAX_NAME or "\0" in self.name:
            violations["collection.name"] = f"must have 1 to {MAX_NAME} characters, none of them U+0000"
        if len(self.embedding_model) > MAX_NAME or "\0" in self.embedding_model:
            violations["collection.embedding_model"] = f"must have at most {MAX_NAME} characters, none of them U+0000"
        if not 1 <= self.dimension <= MAX_DIMENSION:
            violations["collection.dimension"] = (
                f"must be 1 to {MAX_DIMENSION}; it may only be left out for a model that is built in"
            )
        if violations:
            raise InvalidFields(**violations)


class Collections:
    """The collections of all organizations; each sees its own."""

    def __init__(self, store: VectorStore, new_id: Callable[[], UUID], clock: Clock = time.monotonic) -> None:
        self._store = store
        self._new_id = new_id
        self._clock = clock
        self._known: dict[tuple[UUID, UUID], tuple[float, Collection]] = {}

    async def create(self, organization_id: UUID, definition: Definition) -> Collection:
        """A new, empty one. Raises InvalidFields and CollectionNameTaken."""
        definition.check()
        row = await self._store.create_collection(
            organization_id,
            self._new_id(),
            definition.name,
            definition.dimension,
            definition.metric,
            definition.embedding_model,
        )
        if row is None:
            raise CollectionNameTaken(definition.name)
        return Collection.of(row)

    async def get(self, organization_id: UUID, collection_id: UUID) -> Collection:
        """One as it is now. Raises CollectionNotFound."""
        rows = await self._store.collections(organization_id, [collection_id])
        if not rows:
            raise CollectionNotFound(collection_id)
        return Collection.of(rows[0])

    async def page(self, organization_id: UUID, size: int, token: str) -> tuple[list[Collection], str]:
        """Some by name, and the token of the next page or "". Raises InvalidFields and PageTokenInvalid."""
        if not 0 <= size <= MAX_PAGE:
            raise InvalidFields(page_size=f"must be 0 to {MAX_PAGE:,}")
        limit = size or DEFAULT_PAGE
        rows = await self._store.collections_by_name(organization_id, _name_in(token), limit + 1)
        following = _token(rows[limit - 1]["name"]) if len(rows) > limit else ""
        return [Collection.of(row) for row in rows[:limit]], following

    async def known(self, organization_id: UUID, collection_ids: Iterable[UUID]) -> dict[UUID, Collection]:
        """Those that exist, from memory where they were asked for within the last seconds.

        What is remembered may have the wrong `point_count`, and lack an index that it has just got; no more can change.
        """
        now = self._clock()
        wanted = {collection_id: self._recall(organization_id, collection_id, now) for collection_id in collection_ids}
        missing = [collection_id for collection_id, known in wanted.items() if known is None]
        if missing:
            for row in await self._store.collections(organization_id, missing):
                wanted[row["collection_id"]] = self._remember(organization_id, Collection.of(row), now)
        return {collection_id: known for collection_id, known in wanted.items() if known is not None}

    def _recall(self, organization_id: UUID, collection_id: UUID, now: float) -> Collection | None:
        until, collection = self._known.get((organization_id, collection_id), (0.0, None))
        return collection if now < until else None

    def _remember(self, organization_id: UUID, collection: Collection, now: float) -> Collection:
        key = organization_id, collection.collection_id
        self._known.pop(key, None)
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[key] = now + KNOWN_SECONDS, collection
        return collection


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(TOKEN_PREFIX + name.encode()).decode()


def _name_in(token: str) -> str:
    """The name that a page comes after; no name is before all of them."""
    if not token:
        return ""
    try:
        content = base64.b64decode(token, altchars=b"-_", validate=True)
        name = content.removeprefix(TOKEN_PREFIX).decode()
    except (binascii.Error, ValueError) as error:
        raise PageTokenInvalid from error
    if not content.startswith(TOKEN_PREFIX) or "\0" in name:
        raise PageTokenInvalid
    return name
