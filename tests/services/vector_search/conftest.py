"""The vector search service as two tenants see it."""

from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import grpc
import numpy as np
import pytest
import pytest_asyncio
from uuid_utils.compat import uuid7

from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceStub
from services.runtime import postgres
from services.vector_search.store import VectorStore, prepare
from services.vector_search.vectors import Matrix
from tests.conftest import Connect, Tenant, reason, register

if TYPE_CHECKING:
    from deploy.local.stack import Stack

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def tenant(connect_as: Connect) -> Tenant:
    """One organization for all tests of a file, which work on collections of their own."""
    return await register(connect_as)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def other_tenant(connect_as: Connect) -> Tenant:
    """Another one, who must not see anything of the first."""
    return await register(connect_as)


@pytest_asyncio.fixture(loop_scope="session")
async def mine(connect_as: Connect, tenant: Tenant) -> Any:
    """A stub that calls as the tenant."""
    return connect_as(VectorSearchServiceStub, tenant)


@pytest_asyncio.fixture(loop_scope="session")
async def theirs(connect_as: Connect, other_tenant: Tenant) -> Any:
    """A stub that calls as the other tenant."""
    return connect_as(VectorSearchServiceStub, other_tenant)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def database(stack: "Stack") -> AsyncIterator[postgres.Database]:
    """The service's own rows, in the service's own role."""
    async with postgres.connect(stack.database_url("vector_search"), init=prepare) as connected:
        yield connected


@pytest.fixture
def store(database: postgres.Database) -> VectorStore:
    """The service's own store."""
    return VectorStore(database)


async def create(stub: Any, **fields: Any) -> pb.Collection:
    """A new collection."""
    request = pb.CreateCollectionRequest(collection=pb.Collection(**{"name": str(uuid7()), **fields}))
    collection: pb.Collection = (await stub.CreateCollection(request)).collection
    return collection


def points(vectors: Iterable[Any], first: int = 1) -> list[pb.Point]:
    """Points with ids that count from `first`."""
    return [
        pb.Point(id=str(UUID(int=number)), vector=list(map(float, vector)), text=f"point {number}")
        for number, vector in enumerate(vectors, first)
    ]


async def upsert(stub: Any, collection_id: str, given: Iterable[pb.Point]) -> int:
    """How many of the points were stored, sent 1,000 to a message."""

    async def requests() -> AsyncIterator[pb.UpsertPointsRequest]:
        waiting = list(given)
        for start in range(0, len(waiting) or 1, 1_000):
            yield pb.UpsertPointsRequest(collection_id=collection_id, points=waiting[start : start + 1_000])

    return int((await stub.UpsertPoints(requests())).upserted_count)


async def nearest(stub: Any, collection_ids: Iterable[str], vector: Any, limit: int = 0) -> pb.SearchResponse:
    """What a search by vector answers."""
    request = pb.SearchRequest(collection_ids=collection_ids, vector=pb.Vector(values=map(float, vector)), limit=limit)
    answer: pb.SearchResponse = await stub.Search(request)
    return answer


async def count(stub: Any, collection_id: str) -> int:
    """How many points a collection says it has."""
    return int((await stub.GetCollection(pb.GetCollectionRequest(id=collection_id))).collection.point_count)


async def refusal(call: Awaitable[Any]) -> str:
    """The reason that the call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)


def numbers(answer: pb.SearchResponse) -> list[int]:
    """The ids of the points found, as the numbers that `points` gave them."""
    return [UUID(hit.point.id).int for hit in answer.hits]


def clusters(rows: int, dimension: int, seed: int = 7) -> Matrix:
    """Vectors as they come in practice: near to each other in groups, of few degrees of freedom."""
    random = np.random.default_rng(seed)
    basis = random.normal(size=(min(6, dimension), dimension))
    noise = 0.2 * random.normal(size=(rows, dimension))
    return np.asarray(random.normal(size=(rows, len(basis))) @ basis + noise, dtype=np.float32)


def scores(metric: pb.Metric.ValueType, vectors: Matrix, query: Matrix) -> Any:
    """The proto's definition of each metric's score, in double precision."""
    stored, asked = vectors.astype(np.float64), query.astype(np.float64)
    if metric == pb.METRIC_L2:
        return -np.linalg.norm(stored - asked, axis=1)
    product = stored @ asked
    if metric == pb.METRIC_INNER_PRODUCT:
        return product
    return product / np.linalg.norm(stored, axis=1) / np.linalg.norm(asked)
