"""The agent store's feed as the projection reads it: events in, changes out."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import grpc

from neurectomy.agent_store.v1 import agent_store_pb2
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.events.v1 import events_pb2
from services.graph.projection import AgentState, Change, RelationState, State
from services.runtime.errors import from_rpc


class AgentStoreFeed:
    """Watches the agent store, on a channel whose calls carry this service's own token."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._agent_store = AgentStoreServiceStub(channel)

    async def watch(self, after: str) -> AsyncGenerator[Sequence[Change], None]:
        """See Feed. Raises ServiceUnavailable."""
        request = agent_store_pb2.WatchEventsRequest(after=after)
        try:
            async with aclosing(self._agent_store.WatchEvents(request)) as answers:  # type: ignore[type-var]
                async for answer in answers:
                    yield [change(event) for event in answer.events]
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, "agent_store") from error


def change(event: events_pb2.Event) -> Change:
    """What an event means here."""
    create_time = event.create_time.seconds + event.create_time.nanos / 1e9
    return Change(event.position, create_time, _state(event))


def _state(event: events_pb2.Event) -> State | None:
    entity = (event.organization_id, event.entity_id, event.revision)
    if event.WhichOneof("payload") == "agent":
        agent = event.agent
        return AgentState(
            *entity, agent.name, agent.owner_id, tuple(agent.topics), tuple(agent.collection_ids), agent.deleted
        )
    if event.WhichOneof("payload") == "relation":
        relation = event.relation
        return RelationState(*entity, relation.source_id, relation.target_id, relation.type, relation.deleted)
    return None
