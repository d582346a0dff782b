"""Search: many at once in one statement, each by comparing all points or by an index, and saying which."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TypeVar
from uuid import UUID

from services.runtime.errors import DimensionMismatch, InvalidFields
from services.runtime.postgres import Row
from services.vector_search.collections import Collection, Collections, Metric
from services.vector_search.embeddings import QueryEmbeddings
from services.vector_search.store import Leg, Plan, Probe, VectorStore, Want
from services.vector_search.vectors import MAX_INDEXED_DIMENSION, Matrix, to_binary, unacceptable

T = TypeVar("T")

MIN_BREADTH, MAX_BREADTH = 100, 1_000
"""How many candidates an index keeps in view. pgvector takes no more."""


@dataclass(frozen=True, slots=True)
class Query:
    """One search, for a vector or, where there is none, for a text."""

    collection_ids: frozenset[UUID]
    limit: int
    text: str
    vector: Matrix | None
    path: str
    """What the names of its fields begin with in errors."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one search found: rows of points, nearest first, whose distances the metric turns into scores."""

    rows: Sequence[Row]
    metric: Metric
    exact: bool
    """All points were compared."""


NOTHING = Answer((), Metric.COSINE, exact=True)
"""Of no collections, all points were compared."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A query as a vector, in those of its collections that exist. Equal ones are made once."""

    collection_ids: tuple[UUID, ...]
    vector: bytes
    limit: int


class Search:
    """Finds what is nearest to a query."""

    def __init__(self, collections: Collections, store: VectorStore, embeddings: Mapping[str, QueryEmbeddings]) -> None:
        """`embeddings` has the models that are available here, by name."""
        self._collections = collections
        self._store = store
        self._embeddings = embeddings

    async def batch(self, organization_id: UUID, queries: Sequence[Query]) -> list[Answer]:
        """An answer to each query. Raises InvalidFields, DimensionMismatch and Overloaded."""
        asked = {collection_id for query in queries for collection_id in query.collection_ids}
        known = await self._collections.known(organization_id, asked)
        places = [[known[each] for each in sorted(query.collection_ids & known.keys())] for query in queries]
        for query, place in zip(queries, places, strict=True):
            self._check(query, place)
        vectors = await self._vectors(queries, places)
        searches = [
            Resolved(tuple(collection.collection_id for collection in place), vector, query.limit)
            for query, place, vector in zip(queries, places, vectors, strict=True)
        ]
        answers = await self._answers(organization_id, searches, known)
        return [answers.get(search, NOTHING) for search in searches]

    def _check(self, query: Query, place: Sequence[Collection]) -> None:
        _check_agreement(query, place)
        if query.vector is not None:
            _check_vector(query.path, query.vector, place)
        elif place:
            self._check_model(query.path, place[0])

    def _check_model(self, path: str, collection: Collection) -> None:
        embeddings = self._embeddings.get(collection.embedding_model)
        if embeddings is None:
            why = f"cannot be embedded, because {collection.embedding_model!r} is not here; search by vector"
            raise InvalidFields(**{f"{path}text": why})
        if embeddings.embedder.dimension != collection.dimension:
            raise DimensionMismatch(collection.dimension, embeddings.embedder.dimension)

    async def _vectors(self, queries: Sequence[Query], places: Sequence[Sequence[Collection]]) -> list[bytes]:
        """Each query in pgvector's form; equal texts are embedded once."""
        models = [place[0].embedding_model if place else "" for place in places]
        texts: dict[str, dict[str, None]] = {}
        for query, model in zip(queries, models, strict=True):
            if model and query.vector is None:
                texts.setdefault(model, {})[query.text] = None
        embedded = {model: await self._embeddings[model].of(each) for model, each in texts.items()}
        return [
            to_binary(query.vector[None])[0]
            if query.vector is not None
            else embedded.get(model, {}).get(query.text, b"")
            for query, model in zip(queries, models, strict=True)
        ]

    async def _answers(
        self, organization_id: UUID, searches: Iterable[Resolved], known: Mapping[UUID, Collection]
    ) -> dict[Resolved, Answer]:
        """The answers to those searches that have any collection."""
        unique = [search for search in dict.fromkeys(searches) if search.collection_ids]
        if not unique:
            return {}
        rows = await self._store.search(organization_id, plan(unique, known))
        found = {number: list(each) for number, each in groupby(rows, itemgetter("search"))}
        return {
            search: Answer(
                found.get(number, ()),
                known[search.collection_ids[0]].metric,
                exact=not any(known[each].indexed for each in search.collection_ids),
            )
            for number, search in enumerate(unique, 1)
        }


def plan(searches: Sequence[Resolved], known: Mapping[UUID, Collection]) -> Plan:
    """What one statement must look for; what several searches have in common, it looks for once."""
    queries = _numbered(search.vector for search in searches)
    legs = _numbered(_leg(known[each]) for search in searches for each in search.collection_ids)
    most: dict[tuple[int, UUID], int] = {}
    for search in searches:
        for each in search.collection_ids:
            probe = queries[search.vector], each
            most[probe] = max(search.limit, most.get(probe, 0))
    probes = _numbered(most)
    return Plan(
        queries=list(queries),
        legs=tuple(legs),
        probes=[Probe(legs[_leg(known[each])], query, each, limit) for (query, each), limit in most.items()],
        wants=[
            Want(number, probes[queries[search.vector], each])
            for number, search in enumerate(searches, 1)
            for each in search.collection_ids
        ],
        limits=[search.limit for search in searches],
        breadth=min(MAX_BREADTH, max(MIN_BREADTH, *(2 * search.limit for search in searches))),
    )


def _numbered(items: Iterable[T]) -> dict[T, int]:
    return {item: number for number, item in enumerate(dict.fromkeys(items), 1)}


def _leg(collection: Collection) -> Leg:
    """By its index, if it has one."""
    if not collection.indexed:
        return Leg(collection.metric)
    index_type = "vector" if collection.dimension <= MAX_INDEXED_DIMENSION else "halfvec"
    return Leg(collection.metric, collection.collection_id, f"{index_type}({collection.dimension})")


def _check_agreement(query: Query, place: Sequence[Collection]) -> None:
    kinds = {(collection.dimension, collection.metric, collection.embedding_model) for collection in place}
    if len(kinds) > 1:
        raise InvalidFields(**{f"{query.path}collection_ids": "must all have one dimension, metric and model"})


def _check_vector(path: str, vector: Matrix, place: Sequence[Collection]) -> None:
    if place and len(vector) != place[0].dimension:
        raise DimensionMismatch(place[0].dimension, len(vector))
    needs_direction = bool(place) and place[0].metric is Metric.COSINE
    if problem := unacceptable(vector[None], needs_direction):
        raise InvalidFields(**{f"{path}vector": problem[1]})
