"""Collections and search: what the vector search service answers."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc
from ariadne import MutationType, ObjectType, QueryType

from gateway.context import Info, page_size
from gateway.errors import RemoteError
from gateway.remote import Services
from gateway.resolvers.messages import null_when_empty, null_when_unset, read
from neurectomy.agent_store.v1 import agent_store_pb2 as agents_pb
from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from services.runtime.errors import CollectionNotFound

SEARCHES_AT_ONCE = 100

query, mutation, agent, hit = QueryType(), MutationType(), ObjectType("Agent"), ObjectType("Hit")
bindables = [query, mutation, agent, hit]

read(hit, {"id": "point.id", "text": "point.text"})
null_when_unset(hit, "point.metadata")
null_when_empty(hit, "document_id")

Input = Mapping[str, Any]


class Question(NamedTuple):
    """One search of many; equal ones are made once."""

    collection_ids: tuple[str, ...]
    text: str
    limit: int


class Ingested(NamedTuple):
    """What became of a document."""

    collection_id: str
    document_id: str
    passage_count: int
    unchanged: bool


async def searches(services: Services, questions: Sequence[Question]) -> Mapping[Question, pb.SearchResponse]:
    """An answer to each question."""
    requests = [pb.SearchRequest(collection_ids=ids, text=text, limit=limit) for ids, text, limit in questions]
    answer = await services.vector_search.BatchSearch(pb.BatchSearchRequest(requests=requests))
    return dict(zip(questions, answer.responses, strict=True))


async def collections(services: Services, ids: Sequence[str]) -> Mapping[str, pb.Collection]:
    """Those of the collections that exist."""
    found = await asyncio.gather(*(_collection(services, each) for each in ids))
    return {each.id: each for each in found if each is not None}


async def _collection(services: Services, collection_id: str) -> pb.Collection | None:
    try:
        request = pb.GetCollectionRequest(id=collection_id)
        return (await services.vector_search.GetCollection(request)).collection
    except RemoteError as error:
        if error.code is grpc.StatusCode.NOT_FOUND:
            return None
        raise


@query.field("collections")
async def list_collections(_: None, info: Info, first: int) -> Sequence[pb.Collection]:
    request = pb.ListCollectionsRequest(page_size=page_size(first))
    return (await info.context.services.vector_search.ListCollections(request)).collections


@query.field("collection")
async def get_collection(_: None, info: Info, id: str) -> pb.Collection:
    found: pb.Collection | None = await info.context.load(collections, id)
    if found is None:
        raise CollectionNotFound(id)
    return found


@query.field("search")
def search(_: None, info: Info, collection_ids: Sequence[str], text: str, first: int) -> Any:
    return _search(info, collection_ids, text, first)


@mutation.field("createCollection")
async def create_collection(_: None, info: Info, input: Input) -> pb.Collection:
    given = {name: value for name, value in input.items() if value is not None}
    request = pb.CreateCollectionRequest(collection=pb.Collection(**given))
    return (await info.context.services.vector_search.CreateCollection(request)).collection


@mutation.field("ingestDocument")
async def ingest_document(_: None, info: Info, input: Input) -> Ingested:
    request = pb.IngestDocumentRequest(**input)
    answer = await info.context.services.vector_search.IngestDocument(request)
    return Ingested(request.collection_id, request.document_id, answer.passage_count, answer.unchanged)


@agent.field("knowledgeSearch")
def knowledge_search(source: agents_pb.Agent, info: Info, query: str, first: int) -> Any:
    return _search(info, source.collection_ids, query, first) if source.collection_ids else None


@agent.field("knowledge")
async def knowledge(source: agents_pb.Agent, info: Info, query: str, first: int) -> Sequence[pb.Hit]:
    if not source.collection_ids:
        return []
    answer: pb.SearchResponse = await _search(info, source.collection_ids, query, first)
    return answer.hits


def _search(info: Info, collection_ids: Sequence[str], text: str, first: int) -> Any:
    question = Question(tuple(collection_ids), text, page_size(first))
    return info.context.load(searches, question, limit=SEARCHES_AT_ONCE)
