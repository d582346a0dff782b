"""Collections over real gRPC: creating, getting and listing, and each refusal."""

import base64
from typing import Any
from uuid import UUID

import grpc
import pytest
import pytest_asyncio

from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceStub
from services.vector_search.collections import Collections
from services.vector_search.store import VectorStore
from tests.conftest import Connect, Tenant, register
from tests.services.vector_search.conftest import NOBODY, count, create, points, refusal, upsert


@pytest_asyncio.fixture(loop_scope="session")
async def tenant(connect_as: Connect) -> Tenant:
    """One without any collection."""
    return await register(connect_as)


@pytest_asyncio.fixture(loop_scope="session")
async def other_tenant(connect_as: Connect) -> Tenant:
    """Another one, who must not see anything of the first."""
    return await register(connect_as)


def page_of(stub: Any, size: int, token: str = "") -> Any:
    """A page of the tenant's collections."""
    return stub.ListCollections(pb.ListCollectionsRequest(page_size=size, page_token=token))


CREATED = {
    "nothing but a name": ({}, (512, pb.METRIC_COSINE, "use-multilingual-v3")),
    "a dimension": ({"dimension": 3}, (3, pb.METRIC_COSINE, "use-multilingual-v3")),
    "the largest dimension": ({"dimension": 4_000}, (4_000, pb.METRIC_COSINE, "use-multilingual-v3")),
    "a metric": ({"metric": pb.METRIC_L2}, (512, pb.METRIC_L2, "use-multilingual-v3")),
    "a foreign model": (
        {"embedding_model": "text-embedding-3-large", "dimension": 3_072, "metric": pb.METRIC_INNER_PRODUCT},
        (3_072, pb.METRIC_INNER_PRODUCT, "text-embedding-3-large"),
    ),
    "what the server gives": ({"id": NOBODY, "point_count": 7}, (512, pb.METRIC_COSINE, "use-multilingual-v3")),
}


@pytest.mark.parametrize(("fields", "expected"), CREATED.values(), ids=CREATED)
async def test_create(mine: Any, fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    created = await create(mine, **fields)
    assert (created.dimension, created.metric, created.embedding_model) == expected
    assert created.point_count == 0
    assert created.id != NOBODY
    assert await mine.GetCollection(pb.GetCollectionRequest(id=created.id)) == pb.GetCollectionResponse(
        collection=created
    )


REFUSED = {
    "no name": {"name": ""},
    "endless name": {"name": "x" * 201},
    "NUL in the name": {"name": "a\0b"},
    "negative dimension": {"dimension": -1},
    "too large a dimension": {"dimension": 4_001},
    "foreign model without its dimension": {"embedding_model": "text-embedding-3-large"},
    "endless model": {"embedding_model": "x" * 201, "dimension": 3},
    "NUL in the model": {"embedding_model": "a\0b", "dimension": 3},
    "unknown metric": {"metric": 9},
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
async def test_create_refuses(mine: Any, fields: dict[str, Any]) -> None:
    assert await refusal(create(mine, **fields)) == "INVALID_FIELDS"
    assert not (await page_of(mine, 0)).collections


async def test_a_name_is_taken_once_in_each_organization(mine: Any, theirs: Any) -> None:
    await create(mine, name="knowledge")
    assert await refusal(create(mine, name="knowledge")) == "COLLECTION_NAME_TAKEN"
    assert (await create(theirs, name="knowledge")).name == "knowledge"


@pytest.mark.parametrize("unknown", ["", "no uuid", NOBODY])
async def test_get_of_nothing(mine: Any, unknown: str) -> None:
    assert await refusal(mine.GetCollection(pb.GetCollectionRequest(id=unknown))) == "COLLECTION_NOT_FOUND"


async def test_others_see_nothing(mine: Any, theirs: Any) -> None:
    created = await create(mine)
    assert await refusal(theirs.GetCollection(pb.GetCollectionRequest(id=created.id))) == "COLLECTION_NOT_FOUND"
    assert not (await page_of(theirs, 0)).collections


async def test_list_by_name_a_page_at_a_time(mine: Any) -> None:
    names = [f"{number:02} ÄÖ/+" for number in range(7)]
    for name in reversed(names):
        await create(mine, name=name)
    listed, token = [], ""
    for expected in (3, 3, 1):
        page = await page_of(mine, 3, token)
        assert len(page.collections) == expected
        listed += [collection.name for collection in page.collections]
        token = page.next_page_token
    assert (listed, token) == (names, "")
    assert not (await page_of(mine, 7)).next_page_token
    assert len((await page_of(mine, 0)).collections) == 7


@pytest.mark.parametrize("size", [-1, 1_001])
async def test_list_refuses_sizes(mine: Any, size: int) -> None:
    assert await refusal(page_of(mine, size)) == "INVALID_FIELDS"


FOREIGN = [
    "nonsense",
    "!!!",
    "x" * 5_000,
    base64.urlsafe_b64encode(b"other:a").decode(),
    base64.urlsafe_b64encode(b"name:\xff").decode(),
    base64.urlsafe_b64encode(b"name:a\0").decode(),
]


@pytest.mark.parametrize("token", FOREIGN)
async def test_list_refuses_tokens_of_other_lists(mine: Any, token: str) -> None:
    assert await refusal(page_of(mine, 3, token)) == "PAGE_TOKEN_INVALID"


async def test_without_a_token_nobody_gets_in(connect_as: Connect) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await page_of(connect_as(VectorSearchServiceStub), 0)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_what_is_known_is_asked_for_again_after_a_while(mine: Any, tenant: Tenant, store: VectorStore) -> None:
    created = await create(mine, dimension=2)
    now = [0.0]
    collections = Collections(store, lambda: pytest.fail("nothing is created here"), lambda: now[0])
    [(collection_id, before)] = (await collections.known(tenant.organization_id, [UUID(created.id)])).items()
    await upsert(mine, created.id, points([[1, 0], [0, 1]]))
    assert (await collections.known(tenant.organization_id, [collection_id]))[collection_id] is before
    now[0] = 10.0
    assert (await collections.known(tenant.organization_id, [collection_id]))[collection_id].point_count == 2
    assert await count(mine, created.id) == 2


async def test_what_one_organization_knows_is_unknown_to_another(
    mine: Any, tenant: Tenant, other_tenant: Tenant, store: VectorStore
) -> None:
    collections = Collections(store, lambda: pytest.fail("nothing is created here"))
    collection_id = UUID((await create(mine)).id)
    assert await collections.known(tenant.organization_id, [collection_id])
    assert not await collections.known(other_tenant.organization_id, [collection_id])
