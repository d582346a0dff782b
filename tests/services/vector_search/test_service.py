"""What every RPC of the service has in common: who may call it, and what it tells of its own time."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from uuid_utils.compat import uuid7

from neurectomy.auth.v1 import api_keys_pb2
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceStub
from services.runtime import span_wire, telemetry
from services.runtime.span_wire import Kind, Span
from services.runtime.trace_context import TraceContext, new_trace_id
from tests.conftest import Connect, Tenant
from tests.services.vector_search.conftest import NOBODY, clusters, create, points, refusal, upsert
from tests.services.vector_search.injection import slow_search

if TYPE_CHECKING:
    from deploy.local.stack import Stack


async def no_points() -> AsyncIterator[pb.UpsertPointsRequest]:
    """A stream of one empty message."""
    yield pb.UpsertPointsRequest(collection_id=NOBODY)


RPCS = {
    "CreateCollection": (lambda stub: stub.CreateCollection(pb.CreateCollectionRequest()), "knowledge:write"),
    "GetCollection": (lambda stub: stub.GetCollection(pb.GetCollectionRequest()), "knowledge:read"),
    "ListCollections": (lambda stub: stub.ListCollections(pb.ListCollectionsRequest()), "knowledge:read"),
    "UpsertPoints": (lambda stub: stub.UpsertPoints(no_points()), "knowledge:write"),
    "IngestDocument": (lambda stub: stub.IngestDocument(pb.IngestDocumentRequest()), "knowledge:write"),
    "Search": (lambda stub: stub.Search(pb.SearchRequest()), "knowledge:read"),
    "BatchSearch": (lambda stub: stub.BatchSearch(pb.BatchSearchRequest()), "knowledge:read"),
}


@pytest.mark.parametrize(("call", "permission"), RPCS.values(), ids=RPCS)
async def test_each_rpc_needs_its_permission(connect_as: Connect, tenant: Tenant, call: Any, permission: str) -> None:
    other = {"knowledge:read": "knowledge:write", "knowledge:write": "knowledge:read"}[permission]
    request = api_keys_pb2.CreateApiKeyRequest(name="half a key", scopes=[other])
    key = (await connect_as(ApiKeysServiceStub, tenant).CreateApiKey(request)).key
    assert await refusal(call(connect_as(VectorSearchServiceStub, key))) == "PERMISSION_MISSING"
    assert await refusal(call(connect_as(VectorSearchServiceStub))) == "TOKEN_MISSING"


def test_no_rpc_is_forgotten_here() -> None:
    assert set(RPCS) == {method.name for method in pb.DESCRIPTOR.services_by_name["VectorSearchService"].methods}


async def spans_of(call: Any) -> list[Span]:
    """The spans that the service sent home with the answer, without that of the call itself."""
    recording = telemetry.begin("test", TraceContext(new_trace_id()), record=True)
    assert recording is not None
    await call()
    [client] = recording.spans
    assert client.child is not None
    return list(span_wire.unpack(client.child, 1, 0, client.duration))[1:]


def knowledge_of_agents(collections: list[list[str]], text: str) -> pb.BatchSearchRequest:
    """What the gateway asks for agents that know so many collections each."""
    return pb.BatchSearchRequest(
        requests=[pb.SearchRequest(collection_ids=ids, text=text, limit=3) for ids in collections]
    )


async def test_a_batch_is_one_embedding_and_one_statement(mine: Any) -> None:
    ids = [(await create(mine)).id for _ in range(3)]
    for collection_id in ids:
        await upsert(mine, collection_id, points(clusters(50, 512)))
    request = knowledge_of_agents([ids[:2], ids[1:], ids[:2]], f"asked for the first time by {uuid7()}")
    first, second = [await spans_of(lambda: mine.BatchSearch(request)) for _ in range(2)]
    assert [span.name for span in first if span.kind == Kind.EMBEDDING] == ["embed queries"]
    statements = [span.name for span in second if span.kind == Kind.POSTGRES]
    assert statements == ["BEGIN", "search points", "COMMIT"]
    assert {span.kind for span in second} == {Kind.POSTGRES, Kind.POOL_WAIT}


async def test_a_slow_search_is_slow_once_and_nothing_else_is(mine: Any, stack: "Stack") -> None:
    ids = [(await create(mine)).id for _ in range(3)]
    for collection_id in ids:
        await upsert(mine, collection_id, points(clusters(50, 512)))
    request = knowledge_of_agents([[each] for each in ids], "how do I catch an exception")
    await mine.BatchSearch(request)
    async with slow_search(stack.database_url("neurectomy_owner"), 1_000):
        spans = await spans_of(lambda: mine.BatchSearch(request))
    [search] = [span for span in spans if span.name == "search points"]
    assert 1 <= (search.end - search.start) / 1e9 < 2
    assert all(span.end - span.start < 1e9 for span in spans if span is not search)
    again = await spans_of(lambda: mine.BatchSearch(request))
    assert all(span.end - span.start < 1e9 for span in again)
