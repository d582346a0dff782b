"""Agents, versions and runs: what the agent store answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from ariadne import MutationType, ObjectType, QueryType
from google.protobuf.field_mask_pb2 import FieldMask
from graphql import FieldNode

from gateway.context import Info, page_size
from gateway.remote import Services
from gateway.resolvers.connections import Connection, connection
from gateway.resolvers.messages import Read, null_when_empty, null_when_unset
from neurectomy.agent_store.v1 import agent_store_pb2 as pb
from services.runtime.errors import AgentNotFound

EXECUTIONS_AT_ONCE = 100
WITHOUT_LOOK_UP = {"number", "__typename"}

query, mutation = QueryType(), MutationType()
agent, model, execution = ObjectType("Agent"), ObjectType("Model"), ObjectType("Execution")
version, relation = ObjectType("Version"), ObjectType("Relation")
bindables = [query, mutation, agent, model, version, execution, relation]

null_when_unset(agent, "model", "memory_config", "retrieval_config")
null_when_empty(agent, "owner_id")
null_when_unset(model, "config")
null_when_empty(version, "creator_id")
null_when_unset(execution, "input", "output", "end_time")
null_when_empty(execution, "error")


def _duration_ms(run: pb.Execution) -> float | None:
    return run.duration.ToMicroseconds() / 1_000 if run.HasField("duration") else None


execution.set_field("durationMs", Read(_duration_ms))

Input = Mapping[str, Any]


async def agents(services: Services, ids: Sequence[str]) -> Mapping[str, pb.Agent]:
    """Those of the agents that exist."""
    answer = await services.agent_store.BatchGetAgents(pb.BatchGetAgentsRequest(ids=ids))
    return {found.id: found for found in answer.agents}


async def latest_versions(services: Services, agent_ids: Sequence[str]) -> Mapping[str, pb.Version]:
    """The latest version of each agent."""
    request = pb.BatchGetLatestVersionsRequest(agent_ids=agent_ids)
    answer = await services.agent_store.BatchGetLatestVersions(request)
    return {found.agent_id: found for found in answer.versions}


async def latest_executions(
    first: int, services: Services, agent_ids: Sequence[str]
) -> Mapping[str, Sequence[pb.Execution]]:
    """The latest runs of each agent."""
    request = pb.BatchListExecutionsRequest(agent_ids=agent_ids, page_size_per_agent=first)
    answer = await services.agent_store.BatchListExecutions(request)
    runs: dict[str, list[pb.Execution]] = {agent_id: [] for agent_id in agent_ids}
    for run in answer.executions:
        runs[run.agent_id].append(run)
    return runs


@query.field("agents")
async def list_agents(
    _: None, info: Info, first: int, after: str | None = None, status: "pb.AgentStatus.ValueType | None" = None
) -> Sequence[pb.Agent]:
    return (await _page(info, first, after, status, with_tokens=False)).agents


@query.field("agentsConnection")
async def agents_connection(
    _: None, info: Info, first: int, after: str | None = None, status: "pb.AgentStatus.ValueType | None" = None
) -> Connection:
    page = await _page(info, first, after, status, with_tokens=True)
    return connection(page.agents, page.page_tokens, page.next_page_token, after)


async def _page(
    info: Info, first: int, after: str | None, status: "pb.AgentStatus.ValueType | None", with_tokens: bool
) -> pb.ListAgentsResponse:
    request = pb.ListAgentsRequest(
        page_size=page_size(first),
        page_token=after or "",
        status=status or pb.AGENT_STATUS_UNSPECIFIED,
        with_page_tokens=with_tokens,
    )
    return await info.context.services.agent_store.ListAgents(request)


@query.field("agent")
async def get_agent(_: None, info: Info, id: str) -> pb.Agent:
    found: pb.Agent | None = await info.context.load(agents, id)
    if found is None:
        raise AgentNotFound(id)
    return found


@mutation.field("createAgent")
async def create_agent(_: None, info: Info, input: Input) -> pb.Agent:
    given = {name: value for name, value in input.items() if value is not None}
    request = pb.CreateAgentRequest(request_id=given.pop("request_id", ""), agent=pb.Agent(**given))
    return (await info.context.services.agent_store.CreateAgent(request)).agent


@mutation.field("updateAgent")
async def update_agent(_: None, info: Info, input: Input) -> pb.Agent:
    request = pb.UpdateAgentRequest(
        agent=pb.Agent(**input), update_mask=FieldMask(paths=sorted(input.keys() - {"id", "etag"}))
    )
    return (await info.context.services.agent_store.UpdateAgent(request)).agent


@mutation.field("startExecution")
async def start_execution(_: None, info: Info, input: Input) -> pb.Execution:
    request = pb.StartExecutionRequest(**input)
    return (await info.context.services.agent_store.StartExecution(request)).execution


@mutation.field("finishExecution")
async def finish_execution(_: None, info: Info, input: Input) -> pb.Execution:
    request = pb.FinishExecutionRequest(**input)
    return (await info.context.services.agent_store.FinishExecution(request)).execution


@mutation.field("createRelation")
async def create_relation(_: None, info: Info, input: Input) -> pb.Relation:
    request = pb.CreateRelationRequest(relation=pb.Relation(**input))
    return (await info.context.services.agent_store.CreateRelation(request)).relation


@mutation.field("deleteRelation")
async def delete_relation(_: None, info: Info, input: Input) -> pb.Relation:
    ended = pb.Relation(**input)
    await info.context.services.agent_store.DeleteRelation(pb.DeleteRelationRequest(relation=ended))
    return ended


@agent.field("latestVersion")
def latest_version(source: pb.Agent, info: Info) -> Any:
    if _asks_only_for(WITHOUT_LOOK_UP, info):
        return pb.Version(number=source.latest_version)
    return info.context.load(latest_versions, source.id)


@agent.field("versions")
async def versions(source: pb.Agent, info: Info, first: int) -> Sequence[pb.Version]:
    request = pb.ListVersionsRequest(agent_id=source.id, page_size=page_size(first))
    return (await info.context.services.agent_store.ListVersions(request)).versions


@agent.field("executions")
def executions(source: pb.Agent, info: Info, first: int) -> Any:
    return info.context.load(latest_executions, source.id, page_size(first, EXECUTIONS_AT_ONCE))


@execution.field("agent")
def execution_agent(source: pb.Execution, info: Info) -> Any:
    return info.context.load(agents, source.agent_id)


@relation.field("source")
def relation_source(source: pb.Relation, info: Info) -> Any:
    return info.context.load(agents, source.source_id)


@relation.field("target")
def relation_target(source: pb.Relation, info: Info) -> Any:
    return info.context.load(agents, source.target_id)


def _asks_only_for(names: set[str], info: Info) -> bool:
    """Whether the fields selected below this one are all among the names. Fragments are not looked into."""
    selections = [each for node in info.field_nodes if node.selection_set for each in node.selection_set.selections]
    return all(isinstance(each, FieldNode) and each.name.value in names for each in selections)
