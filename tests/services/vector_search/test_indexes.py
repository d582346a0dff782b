"""A collection that has become large gets its index by itself."""

from typing import Any
from uuid import UUID

from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from services.vector_search.indexes import index
from services.vector_search.settings import VectorSearchSettings
from services.vector_search.store import VectorStore
from tests.services.vector_search.conftest import clusters, create, nearest, numbers, points, upsert
from tests.services.vector_search.test_search import until_indexed

THRESHOLD: int = VectorSearchSettings.model_fields["index_threshold"].default


async def test_from_the_threshold_on_there_is_an_index(mine: Any) -> None:
    large, small = await create(mine, dimension=4, metric=pb.METRIC_L2), await create(mine, dimension=4)
    vectors = clusters(THRESHOLD, 4)
    await upsert(mine, large.id, points(vectors))
    await upsert(mine, small.id, points(vectors[:-1]))
    answer = await until_indexed(mine, large.id, vectors[77])
    assert numbers(answer)[0] == 78
    assert (await nearest(mine, [small.id], vectors[77])).exact


async def test_those_that_are_due_are_seen_across_organizations(mine: Any, theirs: Any, store: VectorStore) -> None:
    one, other = await create(mine, dimension=2), await create(theirs, dimension=2)
    ids = {UUID(one.id), UUID(other.id)}
    await upsert(mine, one.id, points(clusters(3, 2)))
    await upsert(theirs, other.id, points(clusters(2, 2)))
    assert ids <= set(await store.unindexed(2))
    assert ids & set(await store.unindexed(3)) == {UUID(one.id)}
    await index(store, THRESHOLD)
    assert ids <= set(await store.unindexed(2))
