"""Search over real gRPC: right, in order, told apart by tenant, and honest about how it looked."""

import asyncio
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from services.vector_search.store import VectorStore
from services.vector_search.vectors import Matrix
from tests.services.vector_search.conftest import (
    NOBODY,
    clusters,
    create,
    nearest,
    numbers,
    points,
    refusal,
    scores,
    upsert,
)

METRICS = [pb.METRIC_COSINE, pb.METRIC_L2, pb.METRIC_INNER_PRODUCT]
NAN = float("nan")


async def until_indexed(stub: Any, collection_id: str, vector: Matrix) -> pb.SearchResponse:
    """The first answer that came by an index."""
    async with asyncio.timeout(120):
        while True:
            answer = await nearest(stub, [collection_id], vector)
            if not answer.exact:
                return answer
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("metric", METRICS, ids=pb.Metric.Name)
async def test_all_is_compared_and_the_nearest_come_first(mine: Any, metric: pb.Metric.ValueType) -> None:
    own = await create(mine, dimension=16, metric=metric)
    vectors, queries = clusters(500, 16), clusters(5, 16, seed=8)
    await upsert(mine, own.id, points(vectors))
    for query in queries:
        expected = scores(metric, vectors, query)
        answer = await nearest(mine, [own.id], query, limit=500)
        assert answer.exact
        assert numbers(answer) == (np.argsort(-expected, kind="stable") + 1).tolist()
        assert [hit.score for hit in answer.hits] == pytest.approx(np.sort(expected)[::-1], rel=1e-4, abs=1e-4)


async def test_ties_are_in_the_order_of_ids(mine: Any) -> None:
    own = await create(mine, dimension=2)
    for first in (21, 11, 1):
        await upsert(mine, own.id, points([[1, 1]] * 10, first))
    assert numbers(await nearest(mine, [own.id], [1, 1], limit=20)) == list(range(1, 21))


async def test_how_many_is_ten_unless_said(mine: Any) -> None:
    own = await create(mine, dimension=2)
    await upsert(mine, own.id, points([[1, number] for number in range(15)]))
    assert len((await nearest(mine, [own.id], [1, 1])).hits) == 10
    assert len((await nearest(mine, [own.id], [1, 1], limit=12)).hits) == 12
    assert len((await nearest(mine, [own.id], [1, 1], limit=1_000)).hits) == 15


async def test_several_collections_are_searched_as_one(mine: Any) -> None:
    vectors = clusters(90, 4)
    three = [await create(mine, dimension=4) for _ in range(3)]
    for number, each in enumerate(three):
        await upsert(mine, each.id, points(vectors[number * 30 :][:30], number * 30 + 1))
    ids = [each.id for each in three]
    answer = await nearest(mine, [*ids, ids[0], NOBODY, "no uuid"], vectors[40], limit=25)
    expected = scores(pb.METRIC_COSINE, vectors, vectors[40])
    assert numbers(answer) == (np.argsort(-expected)[:25] + 1).tolist()
    assert {hit.collection_id for hit in answer.hits} == set(ids)


async def test_a_batch_answers_each_search_as_it_is_answered_alone(mine: Any) -> None:
    small, large = await create(mine, dimension=3, metric=pb.METRIC_L2), await create(mine)
    await upsert(mine, small.id, points(clusters(40, 3)))
    await upsert(mine, large.id, points(clusters(40, 512)))
    texts = [pb.SearchRequest(collection_ids=[large.id], text=text, limit=5) for text in ("one", "two", "one")]
    short, long = pb.Vector(values=[1, 2, 3]), pb.Vector(values=[1] * 512)
    vectors = [
        pb.SearchRequest(collection_ids=[small.id], vector=short, limit=7),
        pb.SearchRequest(collection_ids=[small.id], vector=short, limit=2),
        pb.SearchRequest(collection_ids=[NOBODY], vector=short, limit=2),
        pb.SearchRequest(collection_ids=[large.id], vector=long, limit=3),
    ]
    batch = await mine.BatchSearch(pb.BatchSearchRequest(requests=[*texts, *vectors]))
    assert list(batch.responses) == [await mine.Search(request) for request in [*texts, *vectors]]
    assert [len(answer.hits) for answer in batch.responses] == [5, 5, 5, 7, 2, 0, 3]
    assert batch.responses[0] == batch.responses[2] != batch.responses[1]


UNKNOWN = {
    "nobody's": [NOBODY],
    "no uuid": ["x"],
    "several": [NOBODY, "x", ""],
}


@pytest.mark.parametrize("ids", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("query", [{"text": "x"}, {"vector": pb.Vector(values=[1, 2])}], ids=["text", "vector"])
async def test_unknown_collections_are_as_if_empty(mine: Any, ids: list[str], query: dict[str, Any]) -> None:
    assert await mine.Search(pb.SearchRequest(collection_ids=ids, **query)) == pb.SearchResponse(exact=True)


async def test_others_find_nothing(mine: Any, theirs: Any) -> None:
    own, other = await create(mine, dimension=2), await create(theirs, dimension=2)
    await upsert(mine, own.id, points([[1, 1]]))
    await upsert(theirs, other.id, points([[1, 0]], first=2))
    assert not (await nearest(theirs, [own.id], [1, 1])).hits
    assert numbers(await nearest(theirs, [own.id, other.id], [1, 1])) == [2]
    both = [pb.SearchRequest(collection_ids=[each.id], vector=pb.Vector(values=[1, 1])) for each in (own, other)]
    batch = await theirs.BatchSearch(pb.BatchSearchRequest(requests=both))
    assert [numbers(answer) for answer in batch.responses] == [[], [2]]


BAD = {
    "no collection": ({"collection_ids": []}, "INVALID_FIELDS"),
    "too many collections": ({"collection_ids": [NOBODY] * 101}, "INVALID_FIELDS"),
    "negative limit": ({"limit": -1}, "INVALID_FIELDS"),
    "too large a limit": ({"limit": 1_001}, "INVALID_FIELDS"),
    "nothing to look for": ({"vector": None}, "INVALID_FIELDS"),
    "no text": ({"text": ""}, "INVALID_FIELDS"),
    "endless text": ({"text": "x" * 10_001}, "INVALID_FIELDS"),
    "no vector": ({"vector": pb.Vector()}, "INVALID_FIELDS"),
    "endless vector": ({"vector": pb.Vector(values=[1] * 4_001)}, "INVALID_FIELDS"),
    "too short": ({"vector": pb.Vector(values=[1])}, "DIMENSION_MISMATCH"),
    "too long": ({"vector": pb.Vector(values=[1, 2, 3])}, "DIMENSION_MISMATCH"),
    "text, where the model has another length": ({"text": "x"}, "DIMENSION_MISMATCH"),
    "not a number": ({"vector": pb.Vector(values=[1, NAN])}, "INVALID_FIELDS"),
    "infinite": ({"vector": pb.Vector(values=[1, float("inf")])}, "INVALID_FIELDS"),
    "without direction": ({"vector": pb.Vector(values=[0, 0])}, "INVALID_FIELDS"),
}


@pytest.mark.parametrize(("fields", "expected"), BAD.values(), ids=BAD)
async def test_search_refuses_alone_and_in_a_batch(mine: Any, fields: dict[str, Any], expected: str) -> None:
    own = await create(mine, dimension=2)
    good: dict[str, Any] = {"collection_ids": [own.id], "vector": pb.Vector(values=[1, 1])}
    request = pb.SearchRequest(**{**({} if "text" in fields else good), "collection_ids": [own.id], **fields})
    assert await refusal(mine.Search(request)) == expected
    batch = pb.BatchSearchRequest(requests=[pb.SearchRequest(**good), request])
    assert await refusal(mine.BatchSearch(batch)) == expected


DIFFERENCES = {
    "dimension": {"dimension": 3},
    "metric": {"metric": pb.METRIC_L2},
    "model": {"embedding_model": "text-embedding-3-small"},
}


@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES)
async def test_collections_of_one_search_must_agree(mine: Any, difference: dict[str, Any]) -> None:
    one, other = await create(mine, dimension=2), await create(mine, **{"dimension": 2, **difference})
    assert await refusal(nearest(mine, [one.id, other.id], [1, 1])) == "INVALID_FIELDS"


@pytest.mark.parametrize("size", [0, 101])
async def test_a_batch_has_its_bounds(mine: Any, size: int) -> None:
    request = pb.SearchRequest(collection_ids=[NOBODY], text="x")
    assert await refusal(mine.BatchSearch(pb.BatchSearchRequest(requests=[request] * size))) == "INVALID_FIELDS"


async def test_an_answer_that_no_message_can_hold_is_refused(mine: Any) -> None:
    own = await create(mine, dimension=2)
    given = points(np.ones((200, 2)))
    for point in given:
        point.text = "x" * 100_000
    await upsert(mine, own.id, given[:100])
    await upsert(mine, own.id, given[100:])
    assert len((await nearest(mine, [own.id], [1, 1], limit=100)).hits) == 100
    assert await refusal(nearest(mine, [own.id], [1, 1], limit=200)) == "TOO_LARGE"


INDEXED = {
    "cosine": (16, pb.METRIC_COSINE),
    "L2": (16, pb.METRIC_L2),
    "inner product": (16, pb.METRIC_INNER_PRODUCT),
    "half precision": (2_100, pb.METRIC_COSINE),
}


@pytest.mark.parametrize(("dimension", "metric"), INDEXED.values(), ids=INDEXED)
async def test_an_index_finds_nearly_all_and_says_so(
    mine: Any, store: VectorStore, dimension: int, metric: pb.Metric.ValueType
) -> None:
    own = await create(mine, dimension=dimension, metric=metric)
    vectors, queries = clusters(1_000, dimension), clusters(20, dimension, seed=9)
    await upsert(mine, own.id, points(vectors))
    assert await store.build_index(UUID(own.id))
    assert not await store.build_index(UUID(own.id))
    await until_indexed(mine, own.id, queries[0])
    found = 0
    for query in queries:
        expected = scores(metric, vectors, query)
        answer = await nearest(mine, [own.id], query)
        assert not answer.exact
        assert [hit.score for hit in answer.hits] == pytest.approx(expected[np.array(numbers(answer)) - 1], rel=1e-3)
        assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)
        found += len({*numbers(answer)} & {*(np.argsort(-expected)[:10] + 1).tolist()})
    assert found >= 190
    assert len((await nearest(mine, [own.id], queries[0], limit=500)).hits) == 500


async def test_what_comes_after_the_index_is_found_by_it(mine: Any, store: VectorStore) -> None:
    own, plain = await create(mine, dimension=4), await create(mine, dimension=4)
    await upsert(mine, own.id, points(clusters(300, 4)))
    assert await store.build_index(UUID(own.id))
    await until_indexed(mine, own.id, clusters(1, 4)[0])
    new = np.array([100.0, -70.0, 3.0, 5.0])
    await upsert(mine, own.id, points([new], first=1_000))
    await upsert(mine, plain.id, points([2 * new], first=2_000))
    answer = await nearest(mine, [own.id, plain.id], new, limit=2)
    assert (numbers(answer), answer.exact) == ([1_000, 2_000], False)
    assert (await nearest(mine, [plain.id], new)).exact


async def test_numbers_beyond_half_precision_are_refused_where_it_would_be_indexed(mine: Any) -> None:
    own = await create(mine, dimension=2_001, metric=pb.METRIC_L2)
    vector = [70_000.0, *[1.0] * 2_000]
    assert await refusal(upsert(mine, own.id, points([vector]))) == "INVALID_FIELDS"
    assert await refusal(nearest(mine, [own.id], vector)) == "INVALID_FIELDS"
