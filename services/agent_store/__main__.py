"""The agent store process."""

from contextlib import AsyncExitStack
from functools import partial

import uvloop
from uuid_utils.compat import uuid7

from neurectomy.agent_store.v1.agent_store_pb2_grpc import add_AgentStoreServiceServicer_to_server
from services.agent_store.service import AgentStore
from services.agent_store.settings import AgentStoreSettings
from services.agent_store.store.transactions import Store, prepare_connection
from services.runtime import channels, postgres
from services.runtime.events import Feed, Relay, Wake
from services.runtime.redis import connect
from services.runtime.server import serve
from services.runtime.settings import load
from services.runtime.verifying import verifying


async def main() -> None:
    settings = load(AgentStoreSettings)
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(channels.connect(settings.auth_target, channels.no_token, settings.tls))
        verifier = await stack.enter_async_context(verifying(auth, settings))
        database = await stack.enter_async_context(
            postgres.connect(settings.database_url.get_secret_value(), init=prepare_connection)
        )
        redis = await stack.enter_async_context(connect(settings.redis_url.get_secret_value()))
        wake = Wake()
        feed = Feed(database, wake)
        await stack.enter_async_context(Relay(database, wake, redis, "agent_store").running())
        service = AgentStore(Store(database, wake), feed, uuid7)
        register = partial(add_AgentStoreServiceServicer_to_server, service)
        await serve("agent_store", settings, verifier, register, draining=feed.close)


if __name__ == "__main__":
    uvloop.run(main())
