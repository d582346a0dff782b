"""The agent store process."""

from contextlib import AsyncExitStack
from functools import partial

import uvloop
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from uuid_utils.compat import uuid7

from neurectomy.agent_store.v1.agent_store_pb2_grpc import add_AgentStoreServiceServicer_to_server
from services.agent_store.service import AgentStore
from services.agent_store.settings import AgentStoreSettings
from services.agent_store.store.transactions import Store, prepare_connection
from services.runtime import channels, postgres
from services.runtime.caller import Verifier
from services.runtime.events import Feed, Relay, Wake
from services.runtime.server import serve
from services.runtime.settings import load

REDIS_SECONDS = 2.0


async def main() -> None:
    settings = load(AgentStoreSettings)
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(channels.connect(settings.auth_target, channels.no_token))
        verifier = Verifier(channels.KeySet(auth).fetch, channels.ApiKeys(auth).principal)
        database = await stack.enter_async_context(
            postgres.connect(settings.database_url.get_secret_value(), init=prepare_connection)
        )
        redis = await stack.enter_async_context(_redis(settings.redis_url.get_secret_value()))
        wake = Wake()
        feed = Feed(database, wake)
        await stack.enter_async_context(Relay(database, wake, redis, "agent_store").running())
        service = AgentStore(Store(database, wake), feed, uuid7)
        register = partial(add_AgentStoreServiceServicer_to_server, service)
        await serve("agent_store", settings, verifier, register, draining=feed.close)


def _redis(url: str) -> Redis:
    """Fails at once: the relay itself tries again, with pauses."""
    retry = Retry(NoBackoff(), retries=0)
    return Redis.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, retry=retry)


if __name__ == "__main__":
    uvloop.run(main())
