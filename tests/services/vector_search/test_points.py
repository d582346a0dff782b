"""Points by the stream over real gRPC: stored all together or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pydoc_data.topics import topics
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from services.vector_search.spool import MEMORY_BYTES
from tests.services.vector_search.conftest import (
    NOBODY,
    clusters,
    count,
    create,
    nearest,
    numbers,
    points,
    refusal,
    upsert,
)

NAN, INFINITY = float("nan"), float("inf")


async def test_points_come_back_as_they_were_given(mine: Any) -> None:
    collection = await create(mine, dimension=2)
    given = pb.Point(id=NOBODY, vector=[1, 2], text="Ä 日本 \u2028")
    given.metadata.update({"a": 1.5, "deep": {"list": [None, True, "x", {}]}, "": -0.0, "big": 1e300})
    assert await upsert(mine, collection.id, [given]) == 1
    [hit] = (await nearest(mine, [collection.id], [2, 4])).hits
    assert (hit.point.id, hit.point.text, hit.collection_id) == (NOBODY, given.text, collection.id)
    assert MessageToDict(hit.point.metadata) == MessageToDict(given.metadata)
    assert hit.score == pytest.approx(1)
    assert (hit.document_id, hit.start, hit.end) == ("", 0, 0)
    assert not hit.point.vector


async def test_the_last_of_one_id_is_kept_and_replaces_what_was_there(mine: Any) -> None:
    collection = await create(mine, dimension=2, metric=pb.METRIC_L2)
    versions = points([[0, number] for number in range(1_200)])
    for version in versions:
        version.id = NOBODY
    assert await upsert(mine, collection.id, versions) == 1
    [hit] = (await nearest(mine, [collection.id], [0, 1_199])).hits
    assert (hit.point.text, hit.score) == ("point 1200", 0)
    assert await upsert(mine, collection.id, [*versions[:2], *points([[5, 5]])]) == 2
    assert {hit.point.text for hit in (await nearest(mine, [collection.id], [0, 0])).hits} == {"point 2", "point 1"}
    assert await count(mine, collection.id) == 2


def changed(point: pb.Point, **fields: Any) -> pb.Point:
    """A point with other fields."""
    copy = pb.Point(id=point.id, vector=point.vector, text=point.text)
    if "metadata" in fields:
        copy.metadata.update(fields.pop("metadata"))
    copy.MergeFrom(pb.Point(**{name: value for name, value in fields.items() if name != "vector"}))
    if "vector" in fields:
        copy.ClearField("vector")
        copy.vector.extend(fields["vector"])
    return copy


BAD = {
    "no id": ({"id": "x"}, "INVALID_FIELDS"),
    "too short": ({"vector": [1]}, "DIMENSION_MISMATCH"),
    "too long": ({"vector": [1, 2, 3]}, "DIMENSION_MISMATCH"),
    "no vector": ({"vector": []}, "DIMENSION_MISMATCH"),
    "not a number": ({"vector": [1, NAN]}, "INVALID_FIELDS"),
    "infinite": ({"vector": [1, -INFINITY]}, "INVALID_FIELDS"),
    "without direction": ({"vector": [0, 0]}, "INVALID_FIELDS"),
    "NUL in the text": ({"text": "a\0b"}, "INVALID_FIELDS"),
    "NUL in the metadata": ({"metadata": {"a": "\0"}}, "INVALID_FIELDS"),
    "not a number in the metadata": ({"metadata": {"a": [NAN]}}, "INVALID_FIELDS"),
}


@pytest.mark.parametrize(("fields", "expected"), BAD.values(), ids=BAD)
async def test_one_bad_point_spoils_the_stream(mine: Any, fields: dict[str, Any], expected: str) -> None:
    collection = await create(mine, dimension=2)
    good = points(np.ones((1_500, 2)))
    stream = [*good[:1_200], changed(good[1_200], **fields), *good[1_201:]]
    assert await refusal(upsert(mine, collection.id, stream)) == expected
    assert await count(mine, collection.id) == 0
    assert not (await nearest(mine, [collection.id], [1, 1])).hits


async def test_a_collection_of_lengths_takes_a_zero(mine: Any) -> None:
    collection = await create(mine, dimension=2, metric=pb.METRIC_L2)
    assert await upsert(mine, collection.id, points([[0, 0]])) == 1
    assert await refusal(upsert(mine, collection.id, points([[NAN, 0]]))) == "INVALID_FIELDS"


ADDRESSES = {
    "nothing": ([], "INVALID_FIELDS"),
    "no collection": ([""], "INVALID_FIELDS"),
    "no uuid": (["x"], "INVALID_FIELDS"),
    "nobody's": ([NOBODY], "COLLECTION_NOT_FOUND"),
    "two collections": (["own", NOBODY], "INVALID_FIELDS"),
}


@pytest.mark.parametrize(("ids", "expected"), ADDRESSES.values(), ids=ADDRESSES)
async def test_where_to_must_be_clear(mine: Any, ids: list[str], expected: str) -> None:
    own = await create(mine, dimension=2)

    async def requests() -> AsyncIterator[pb.UpsertPointsRequest]:
        for number, each in enumerate(ids):
            given = points([[1, 1]], first=number + 1)
            yield pb.UpsertPointsRequest(collection_id=own.id if each == "own" else each, points=given)

    assert await refusal(mine.UpsertPoints(requests())) == expected
    assert await count(mine, own.id) == 0


async def test_later_messages_need_not_repeat_where_to(mine: Any) -> None:
    own = await create(mine, dimension=2)

    async def requests() -> AsyncIterator[pb.UpsertPointsRequest]:
        for number in range(3):
            given = points([[1, number]], first=number + 1)
            yield pb.UpsertPointsRequest(collection_id=own.id if number == 0 else "", points=given)

    assert (await mine.UpsertPoints(requests())).upserted_count == 3


async def test_a_stream_without_points_stores_none(mine: Any) -> None:
    own = await create(mine, dimension=2)
    assert await upsert(mine, own.id, []) == 0


async def test_a_stream_that_breaks_half_way_stores_nothing(mine: Any) -> None:
    own = await create(mine, dimension=2)
    sent = asyncio.Event()

    async def requests() -> AsyncIterator[pb.UpsertPointsRequest]:
        yield pb.UpsertPointsRequest(collection_id=own.id, points=points(np.ones((3_000, 2))))
        sent.set()
        await asyncio.Event().wait()

    call = asyncio.ensure_future(mine.UpsertPoints(requests()))
    await sent.wait()
    await asyncio.sleep(0.2)
    call.cancel()
    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await call
    assert await count(mine, own.id) == 0
    assert await upsert(mine, own.id, points([[1, 1]])) == 1


async def test_others_cannot_write(mine: Any, theirs: Any) -> None:
    own = await create(mine, dimension=2)
    assert await refusal(upsert(theirs, own.id, points([[1, 1]]))) == "COLLECTION_NOT_FOUND"
    assert await count(mine, own.id) == 0


async def test_two_organizations_may_use_the_same_ids(mine: Any, theirs: Any) -> None:
    own, other = await create(mine, dimension=2), await create(theirs, dimension=2)
    await upsert(mine, own.id, points([[1, 1]]))
    await upsert(theirs, other.id, points([[1, 0]]))
    assert (await nearest(mine, [own.id], [1, 1])).hits[0].score == pytest.approx(1)
    assert await count(mine, own.id) == await count(theirs, other.id) == 1


async def test_streams_at_once_count_right(mine: Any) -> None:
    own = await create(mine, dimension=4)
    vectors = clusters(600, 4)
    overlapping = [points(vectors, first) for first in (1, 201, 401, 1)]
    assert await asyncio.gather(*(upsert(mine, own.id, given) for given in overlapping)) == [600] * 4
    assert await count(mine, own.id) == 1_000
    assert len((await nearest(mine, [own.id], [1, 1, 1, 1], limit=1_000)).hits) == 1_000


async def test_a_stream_larger_than_the_spools_memory_is_stored(mine: Any) -> None:
    own = await create(mine, dimension=512)
    vectors = np.random.default_rng(3).normal(size=(MEMORY_BYTES // 2_048 + 500, 512)).astype(np.float32)
    assert await upsert(mine, own.id, points(vectors)) == len(vectors) == await count(mine, own.id)
    assert numbers(await nearest(mine, [own.id], vectors[-1], limit=1)) == [len(vectors)]


async def test_a_point_that_takes_a_passages_id_leaves_its_document(mine: Any) -> None:
    own = await create(mine)
    document = pb.IngestDocumentRequest(collection_id=own.id, document_id="raise", text=topics["raise"])
    passages = (await mine.IngestDocument(document)).passage_count
    search = pb.SearchRequest(collection_ids=[own.id], text="raise", limit=1)
    [taken] = (await mine.Search(search)).hits
    assert taken.document_id == "raise"
    replacement = pb.Point(id=taken.point.id, vector=[1] * 512, text="mine now")
    assert await upsert(mine, own.id, [replacement]) == 1
    assert await count(mine, own.id) == passages
    [found] = (await nearest(mine, [own.id], [1] * 512, limit=1)).hits
    assert (found.point.text, found.document_id, found.end) == ("mine now", "", 0)
    again = await mine.IngestDocument(document)
    assert (again.unchanged, again.passage_count) == (False, passages)
    assert await count(mine, own.id) == passages + 1
