"""The RPCs of the vector search service: proto in, call, proto out."""

from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceServicer
from services.runtime.caller import current_principal
from services.runtime.errors import CollectionNotFound, InvalidFields, TooLarge
from services.runtime.scopes import MAX_MESSAGE, Context
from services.vector_search import messages
from services.vector_search.collections import Collections
from services.vector_search.ingest import Document, Documents
from services.vector_search.points import Points
from services.vector_search.search import Search

T = TypeVar("T", pb.SearchResponse, pb.BatchSearchResponse)

MAX_SEARCHES = 100


class VectorSearch(VectorSearchServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(
        self,
        collections: Collections,
        points: Points,
        documents: Documents,
        search: Search,
        models: Mapping[str, int],
        default_model: str,
    ) -> None:
        """`models` are those that texts can be embedded with here, each with the length of its vectors."""
        self._collections = collections
        self._points = points
        self._documents = documents
        self._search = search
        self._models = models
        self._default_model = default_model

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        definition = messages.definition(request.collection, self._models, self._default_model)
        created = await self._collections.create(current_principal().tenant, definition)
        return pb.CreateCollectionResponse(collection=messages.collection(created))

    async def GetCollection(self, request: pb.GetCollectionRequest, context: Context) -> pb.GetCollectionResponse:
        collection_id = messages.uuid(request.id)
        if collection_id is None:
            raise CollectionNotFound(request.id)
        collection = await self._collections.get(current_principal().tenant, collection_id)
        return pb.GetCollectionResponse(collection=messages.collection(collection))

    async def ListCollections(self, request: pb.ListCollectionsRequest, context: Context) -> pb.ListCollectionsResponse:
        page, token = await self._collections.page(current_principal().tenant, request.page_size, request.page_token)
        return pb.ListCollectionsResponse(collections=map(messages.collection, page), next_page_token=token)

    async def UpsertPoints(
        self, request_iterator: AsyncIterator[pb.UpsertPointsRequest], context: Context
    ) -> pb.UpsertPointsResponse:
        parts = messages.parts(request_iterator)
        return pb.UpsertPointsResponse(upserted_count=await self._points.upsert(current_principal().tenant, parts))

    async def IngestDocument(self, request: pb.IngestDocumentRequest, context: Context) -> pb.IngestDocumentResponse:
        collection_id = messages.written_uuid(request.collection_id, "collection_id")
        document = Document(request.document_id, request.text, messages.metadata(request.metadata, "metadata"))
        done = await self._documents.ingest(current_principal().tenant, collection_id, document)
        return pb.IngestDocumentResponse(passage_count=done.passage_count, unchanged=done.unchanged)

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        [answer] = await self._search.batch(current_principal().tenant, [messages.query(request)])
        return _sendable(messages.answer(answer))

    async def BatchSearch(self, request: pb.BatchSearchRequest, context: Context) -> pb.BatchSearchResponse:
        if not 1 <= len(request.requests) <= MAX_SEARCHES:
            raise InvalidFields(requests=f"must be 1 to {MAX_SEARCHES}")
        queries = [messages.query(each, f"requests[{at}].") for at, each in enumerate(request.requests)]
        answers = await self._search.batch(current_principal().tenant, queries)
        return _sendable(pb.BatchSearchResponse(responses=messages.answers(answers)))


def _sendable(response: T) -> T:
    """The response, if it is not larger than clients take. Raises TooLarge."""
    if response.ByteSize() > MAX_MESSAGE:
        raise TooLarge(f"the answer is larger than {MAX_MESSAGE:,} bytes; ask for fewer hits")
    return response
