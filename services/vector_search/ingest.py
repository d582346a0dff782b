"""Documents: a text becomes passages that can be found one by one, and is replaced as a whole."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from services.runtime.errors import CollectionNotFound, DimensionMismatch, InvalidFields, TooLarge
from services.runtime.span_wire import Kind
from services.runtime.telemetry import span
from services.vector_search import passages
from services.vector_search.collections import Collections
from services.vector_search.embeddings import Embedder
from services.vector_search.spool import Point, Spool
from services.vector_search.store import VectorStore
from services.vector_search.vectors import to_binary

MAX_TEXT = 1_000_000
MAX_DOCUMENT_ID = 500
MAX_METADATA_BYTES = 16_384
"""Each passage has a copy."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text under a name of the caller's choice."""

    document_id: str
    text: str
    metadata: dict[str, Any]

    def check(self) -> None:
        """Raise InvalidFields or TooLarge for what cannot be ingested."""
        violations = {}
        if not 1 <= len(self.document_id) <= MAX_DOCUMENT_ID or "\0" in self.document_id:
            violations["document_id"] = f"must have 1 to {MAX_DOCUMENT_ID} characters, none of them U+0000"
        if not self.text.strip() or "\0" in self.text:
            violations["text"] = "must have something but white space in it, and no U+0000"
        if violations:
            raise InvalidFields(**violations)
        if len(self.text) > MAX_TEXT:
            raise TooLarge(f"the text has {len(self.text):,} characters; {MAX_TEXT:,} are the limit")
        if len(orjson.dumps(self.metadata)) > MAX_METADATA_BYTES:
            raise TooLarge(f"the metadata is more than {MAX_METADATA_BYTES:,} bytes of JSON")

    def sha256(self) -> bytes:
        """A digest of all that the passages are made from."""
        content = [passages.VERSION, self.text, self.metadata]
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


@dataclass(frozen=True, slots=True)
class Ingested:
    """How many passages a document has now, and whether it had them before."""

    passage_count: int
    unchanged: bool


class Documents:
    """Ingests documents."""

    def __init__(
        self,
        collections: Collections,
        store: VectorStore,
        embedders: Mapping[str, Embedder],
        new_id: Callable[[], UUID],
    ) -> None:
        """`embedders` has the models that are available here, by name."""
        self._collections = collections
        self._store = store
        self._embedders = embedders
        self._new_id = new_id

    async def ingest(self, organization_id: UUID, collection_id: UUID, document: Document) -> Ingested:
        """Store the document, unless it is there already.

        Raises CollectionNotFound, InvalidFields, DimensionMismatch, TooLarge and Overloaded.
        """
        document.check()
        embedder = await self._embedder(organization_id, collection_id)
        sha256 = document.sha256()
        count = await self._store.unchanged(organization_id, collection_id, document.document_id, sha256)
        if count is not None:
            return Ingested(count, unchanged=True)
        points = await self._points(document, embedder)
        return await self._replace(organization_id, collection_id, document.document_id, sha256, points)

    async def _embedder(self, organization_id: UUID, collection_id: UUID) -> Embedder:
        known = await self._collections.known(organization_id, [collection_id])
        if collection_id not in known:
            raise CollectionNotFound(collection_id)
        model, dimension = known[collection_id].embedding_model, known[collection_id].dimension
        if model not in self._embedders:
            raise InvalidFields(collection_id=f"has the model {model!r}, which is not here; upsert points instead")
        if self._embedders[model].dimension != dimension:
            raise DimensionMismatch(dimension, self._embedders[model].dimension)
        return self._embedders[model]

    async def _points(self, document: Document, embedder: Embedder) -> list[Point]:
        cut = await asyncio.to_thread(passages.cut, document.text)
        with span(Kind.EMBEDDING, "embed passages"):
            vectors = await embedder.embed([passage.text for passage in cut])
        return [
            Point(
                self._new_id(),
                document.document_id,
                passage.start,
                passage.end,
                passage.text,
                document.metadata,
                embedding,
            )
            for passage, embedding in zip(cut, to_binary(vectors), strict=True)
        ]

    async def _replace(
        self, organization_id: UUID, collection_id: UUID, document_id: str, sha256: bytes, points: Sequence[Point]
    ) -> Ingested:
        """Store the passages; another ingest of the same document comes wholly before or wholly after."""
        with Spool() as spool:
            spool.add(points)
            async with self._store.staging(organization_id) as staging:
                await staging.load(spool)
                await staging.hold(collection_id)
                count = await staging.unchanged(collection_id, document_id, sha256)
                if count is not None:
                    return Ingested(count, unchanged=True)
                await staging.replace_document(collection_id, document_id, sha256, len(points))
                await staging.merge(collection_id)
        return Ingested(len(points), unchanged=False)
