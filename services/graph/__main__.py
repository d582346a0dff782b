"""The graph process."""

from contextlib import AsyncExitStack
from functools import partial

import uvloop

from neurectomy.graph.v1.graph_pb2_grpc import add_GraphServiceServicer_to_server
from services.graph.feed import AgentStoreFeed
from services.graph.projection import Projection
from services.graph.service import Graph
from services.graph.settings import GraphSettings
from services.graph.store import GraphStore
from services.runtime import channels, neo4j
from services.runtime.server import serve
from services.runtime.settings import load
from services.runtime.verifying import verifying


async def main() -> None:
    settings = load(GraphSettings)
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(channels.connect(settings.auth_target, channels.no_token, settings.tls))
        verifier = await stack.enter_async_context(verifying(auth, settings))
        identity = channels.ServiceIdentity(auth, "graph", settings.service_secret.get_secret_value())
        agent_store = await stack.enter_async_context(
            channels.connect(settings.agent_store_target, identity.token, settings.tls)
        )
        password = settings.neo4j_password.get_secret_value()
        database = await stack.enter_async_context(
            neo4j.connect(settings.neo4j_url, settings.neo4j_user, password, settings.neo4j_database)
        )
        store = GraphStore(database)
        projection = Projection(store, AgentStoreFeed(agent_store))
        await stack.enter_async_context(projection.running())
        service = Graph(store, projection)
        await serve("graph", settings, verifier, partial(add_GraphServiceServicer_to_server, service))


if __name__ == "__main__":
    uvloop.run(main())
