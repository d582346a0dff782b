"""The RPCs of the agent store: proto in, call, proto out."""

from collections.abc import AsyncIterator, Callable
from uuid import UUID

from neurectomy.agent_store.v1 import agent_store_pb2 as pb
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceServicer
from services.agent_store import agents, executions, messages, relations, versions
from services.agent_store.store.transactions import Store
from services.runtime.caller import current_principal
from services.runtime.errors import InvalidFields
from services.runtime.events import Feed, Position
from services.runtime.scopes import Context


class AgentStore(AgentStoreServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, store: Store, feed: Feed, new_id: Callable[[], UUID]) -> None:
        self._store = store
        self._feed = feed
        self._new_id = new_id

    async def CreateAgent(self, request: pb.CreateAgentRequest, context: Context) -> pb.CreateAgentResponse:
        profile, repeatable = messages.profile(request.agent), messages.request(request)
        row = await agents.create(self._store, current_principal(), self._new_id(), profile, repeatable)
        return pb.CreateAgentResponse(agent=messages.agent(row))

    async def GetAgent(self, request: pb.GetAgentRequest, context: Context) -> pb.GetAgentResponse:
        row = await agents.get(self._store, current_principal().tenant, request.id)
        return pb.GetAgentResponse(agent=messages.agent(row))

    async def BatchGetAgents(self, request: pb.BatchGetAgentsRequest, context: Context) -> pb.BatchGetAgentsResponse:
        rows = await agents.batch_get(self._store, current_principal().tenant, request.ids)
        return pb.BatchGetAgentsResponse(agents=map(messages.agent, rows))

    async def UpdateAgent(self, request: pb.UpdateAgentRequest, context: Context) -> pb.UpdateAgentResponse:
        agent, profile = request.agent, messages.profile(request.agent)
        mask = request.update_mask.paths
        row = await agents.update(self._store, current_principal(), agent.id, agent.etag, profile, mask)
        return pb.UpdateAgentResponse(agent=messages.agent(row))

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Context) -> pb.ListAgentsResponse:
        status = messages.word(messages.AGENT_STATUSES, request.status)
        tenant = current_principal().tenant
        rows, token = await agents.page(self._store, tenant, status, request.page_size, request.page_token)
        tokens = agents.page_tokens(tenant, status, rows) if request.with_page_tokens else ()
        return pb.ListAgentsResponse(agents=map(messages.agent, rows), next_page_token=token, page_tokens=tokens)

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        tenant = current_principal().tenant
        rows, token = await versions.page(self._store, tenant, request.agent_id, request.page_size, request.page_token)
        return pb.ListVersionsResponse(versions=map(messages.version, rows), next_page_token=token)

    async def BatchGetLatestVersions(
        self, request: pb.BatchGetLatestVersionsRequest, context: Context
    ) -> pb.BatchGetLatestVersionsResponse:
        rows = await versions.batch_get_latest(self._store, current_principal().tenant, request.agent_ids)
        return pb.BatchGetLatestVersionsResponse(versions=map(messages.version, rows))

    async def StartExecution(self, request: pb.StartExecutionRequest, context: Context) -> pb.StartExecutionResponse:
        tenant, repeatable = current_principal().tenant, messages.request(request)
        given = messages.plain(request.input, "input") if request.HasField("input") else None
        row = await executions.start(self._store, tenant, self._new_id(), request.agent_id, given, repeatable)
        return pb.StartExecutionResponse(execution=messages.execution(row))

    async def FinishExecution(self, request: pb.FinishExecutionRequest, context: Context) -> pb.FinishExecutionResponse:
        tenant, ending = current_principal().tenant, messages.ending(request)
        row = await executions.finish(self._store, tenant, request.id, ending)
        return pb.FinishExecutionResponse(execution=messages.execution(row))

    async def BatchListExecutions(
        self, request: pb.BatchListExecutionsRequest, context: Context
    ) -> pb.BatchListExecutionsResponse:
        tenant = current_principal().tenant
        rows = await executions.latest(self._store, tenant, request.agent_ids, request.page_size_per_agent)
        return pb.BatchListExecutionsResponse(executions=map(messages.execution, rows))

    async def CreateRelation(self, request: pb.CreateRelationRequest, context: Context) -> pb.CreateRelationResponse:
        wanted = _relation(request.relation)
        await relations.create(self._store, current_principal().tenant, wanted)
        return pb.CreateRelationResponse(relation=messages.relation(wanted))

    async def DeleteRelation(self, request: pb.DeleteRelationRequest, context: Context) -> pb.DeleteRelationResponse:
        await relations.delete(self._store, current_principal().tenant, _relation(request.relation))
        return pb.DeleteRelationResponse()

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        async for events in self._feed.watch(_position(request.after)):
            yield pb.WatchEventsResponse(events=map(messages.event, events))


def _relation(message: pb.Relation) -> relations.Relation:
    kind = messages.word(messages.RELATION_TYPES, message.type)
    return relations.relation(message.source_id, message.target_id, kind)


def _position(after: str) -> Position:
    try:
        return Position.parse(after)
    except ValueError as error:
        raise InvalidFields(after=str(error)) from error
