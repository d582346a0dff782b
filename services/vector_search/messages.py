"""Between the protos' messages and what this service works with."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from services.runtime.errors import InvalidFields
from services.runtime.postgres import Row
from services.vector_search.collections import Collection, Definition, Metric
from services.vector_search.points import GivenPoint, Part
from services.vector_search.search import Answer, Query
from services.vector_search.vectors import MAX_DIMENSION

MAX_COLLECTIONS = 100
MAX_LIMIT, DEFAULT_LIMIT = 1_000, 10
MAX_QUERY = 10_000

METRICS = {
    pb.METRIC_UNSPECIFIED: Metric.COSINE,
    pb.METRIC_COSINE: Metric.COSINE,
    pb.METRIC_L2: Metric.L2,
    pb.METRIC_INNER_PRODUCT: Metric.INNER_PRODUCT,
}
METRIC_VALUES = {metric: value for value, metric in METRICS.items() if value != pb.METRIC_UNSPECIFIED}


def uuid(text: str) -> UUID | None:
    """The UUID that a text is, if it is one."""
    try:
        return UUID(text)
    except ValueError:
        return None


def written_uuid(text: str, field: str) -> UUID:
    """The UUID of a field of a request that writes. Raises InvalidFields."""
    known = uuid(text)
    if known is None:
        raise InvalidFields(**{field: "must be a UUID"})
    return known


def definition(message: pb.Collection, models: Mapping[str, int], default_model: str) -> Definition:
    """What is to be created; what was left out is the default model's. Raises InvalidFields."""
    if message.metric not in METRICS:
        raise InvalidFields(**{"collection.metric": "must be one of those in the proto"})
    model = message.embedding_model or default_model
    return Definition(message.name, message.dimension or models.get(model, 0), METRICS[message.metric], model)


def collection(known: Collection) -> pb.Collection:
    """A collection."""
    return pb.Collection(
        id=str(known.collection_id),
        name=known.name,
        dimension=known.dimension,
        metric=METRIC_VALUES[known.metric],
        embedding_model=known.embedding_model,
        point_count=known.point_count,
        create_time=_timestamp(known.created_at),
    )


def _timestamp(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def metadata(struct: Struct, field: str) -> dict[str, Any]:
    """A free-form field as JSON knows it. Raises InvalidFields for numbers that JSON does not know."""
    try:
        return dict(json_format.MessageToDict(struct))
    except (json_format.Error, ValueError) as error:
        raise InvalidFields(**{field: "must not have NaN or infinity in it"}) from error


async def parts(requests: AsyncIterator[pb.UpsertPointsRequest]) -> AsyncIterator[Part]:
    """The messages of a stream of points. Raises InvalidFields."""
    async for request in requests:
        collection_id = written_uuid(request.collection_id, "collection_id") if request.collection_id else None
        yield Part(collection_id, _given(request))


def _given(request: pb.UpsertPointsRequest) -> Iterator[GivenPoint]:
    """Made one by one as they are needed, since a message may hold a great many."""
    for point in request.points:
        yield GivenPoint(
            written_uuid(point.id, "points.id"),
            np.array(point.vector, dtype=np.float32),
            point.text,
            metadata(point.metadata, "points.metadata") if point.HasField("metadata") else {},
        )


def query(request: pb.SearchRequest, path: str = "") -> Query:
    """One search. Raises InvalidFields."""
    violations = {}
    if not 1 <= len(request.collection_ids) <= MAX_COLLECTIONS:
        violations[f"{path}collection_ids"] = f"must be 1 to {MAX_COLLECTIONS}"
    if not 0 <= request.limit <= MAX_LIMIT:
        violations[f"{path}limit"] = f"must be 0 to {MAX_LIMIT:,}"
    vector = np.array(request.vector.values, dtype=np.float32) if request.WhichOneof("query") == "vector" else None
    if vector is not None and not 1 <= len(vector) <= MAX_DIMENSION:
        violations[f"{path}vector"] = f"must have 1 to {MAX_DIMENSION:,} numbers"
    if vector is None and not 1 <= len(request.text) <= MAX_QUERY:
        violations[f"{path}text"] = f"must have 1 to {MAX_QUERY:,} characters, where there is no vector"
    if violations:
        raise InvalidFields(**violations)
    known = frozenset(each for text in request.collection_ids if (each := uuid(text)))
    return Query(known, request.limit or DEFAULT_LIMIT, request.text, vector, path)


def answer(found: Answer) -> pb.SearchResponse:
    """What a search found."""
    return pb.SearchResponse(hits=[_hit(row, found.metric) for row in found.rows], exact=found.exact)


def answers(found: Iterable[Answer]) -> list[pb.SearchResponse]:
    """What searches found; equal searches share their answer, which is made once."""
    made: dict[int, pb.SearchResponse] = {}
    return [made.get(id(each)) or made.setdefault(id(each), answer(each)) for each in found]


def _hit(row: Row, metric: Metric) -> pb.Hit:
    hit = pb.Hit(
        point=pb.Point(id=str(row["point_id"]), text=row["text"]),
        score=metric.score(row["distance"]),
        collection_id=str(row["collection_id"]),
        document_id=row["document_id"] or "",
        start=row["start_offset"] or 0,
        end=row["end_offset"] or 0,
    )
    hit.point.metadata.update(row["metadata"])
    return hit
