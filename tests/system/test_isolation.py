"""Nothing of one organization reaches another, by any RPC: a row for each, and a row is owed by every new one."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from neurectomy.agent_store.v1 import agent_store_pb2 as agent
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.auth.v1 import api_keys_pb2 as keys
from neurectomy.auth.v1 import audit_pb2 as audit
from neurectomy.auth.v1 import auth_pb2 as auth
from neurectomy.auth.v1 import invitations_pb2 as invitations
from neurectomy.auth.v1 import members_pb2 as members
from neurectomy.auth.v1 import organizations_pb2 as organizations
from neurectomy.auth.v1 import roles_pb2 as roles
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.auth.v1.audit_pb2_grpc import AuditServiceStub
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.invitations_pb2_grpc import InvitationsServiceStub
from neurectomy.auth.v1.members_pb2_grpc import MembersServiceStub
from neurectomy.auth.v1.organizations_pb2_grpc import OrganizationsServiceStub
from neurectomy.auth.v1.roles_pb2_grpc import RolesServiceStub
from neurectomy.graph.v1 import graph_pb2 as graph
from neurectomy.graph.v1.graph_pb2_grpc import GraphServiceStub
from neurectomy.vector_search.v1 import vector_search_pb2 as vector
from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceStub
from services.auth.permissions import OWNER
from services.runtime.caller import Principal, access_rule
from tests.conftest import Connect, Tenant, reason, register

ZEROS = [0.0] * 511
AUTH_FILES = [
    import_module(f"neurectomy.auth.v1.{file.stem}_pb2").DESCRIPTOR
    for file in sorted((Path(__file__).parents[2] / "protos/neurectomy/auth/v1").glob("*.proto"))
]


@dataclass(frozen=True, slots=True)
class World:
    """What the first tenant has; each name and text of it holds the marker."""

    marker: str
    owner_id: str
    agent_id: str
    colleague_id: str
    collection_id: str
    point_id: str
    execution_id: str
    role_id: str
    invitation_id: str
    api_key_id: str


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def first(connect_as: Connect) -> Tenant:
    return await register(connect_as)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def second(connect_as: Connect) -> Tenant:
    return await register(connect_as)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def world(connect_as: Connect, first: Tenant) -> World:
    marker = f"marker-{uuid4().hex}"
    agents, vectors = connect_as(AgentStoreServiceStub, first), connect_as(VectorSearchServiceStub, first)
    collection = vector.Collection(name=marker)
    collection_id = (
        await vectors.CreateCollection(vector.CreateCollectionRequest(collection=collection))
    ).collection.id
    text = f"{marker} says how to catch an exception"
    document = vector.IngestDocumentRequest(collection_id=collection_id, document_id=marker, text=text)
    await vectors.IngestDocument(document)
    point = vector.Point(id=str(uuid4()), vector=[1.0, *ZEROS], text=marker)
    await vectors.UpsertPoints(_stream(vector.UpsertPointsRequest(collection_id=collection_id, points=[point])))
    ids = [await _agent(agents, marker, collection_id) for _ in range(2)]
    relation = agent.Relation(source_id=ids[0], target_id=ids[1], type=agent.RELATION_TYPE_COLLABORATES_WITH)
    await agents.CreateRelation(agent.CreateRelationRequest(relation=relation))
    start = agent.StartExecutionRequest(agent_id=ids[0])
    start.input.update({"question": marker})
    execution_id = (await agents.StartExecution(start)).execution.id
    role = roles.Role(name=marker, permissions=["agents:read"])
    role_id = (await connect_as(RolesServiceStub, first).CreateRole(roles.CreateRoleRequest(role=role))).role.id
    invite = invitations.CreateInvitationRequest(email=f"{marker}@example.org", role_id=role_id)
    invitation_id = (await connect_as(InvitationsServiceStub, first).CreateInvitation(invite)).invitation.id
    key = await connect_as(ApiKeysServiceStub, first).CreateApiKey(keys.CreateApiKeyRequest(name=marker))
    made = (collection_id, point.id, execution_id, role_id, invitation_id, key.id)
    return World(marker, first.user_id, ids[0], ids[1], *made)


async def _agent(agents: Any, marker: str, collection_id: str) -> str:
    new = agent.Agent(name=marker, system_prompt=marker, topics=[marker], collection_ids=[collection_id])
    return str((await agents.CreateAgent(agent.CreateAgentRequest(agent=new))).agent.id)


async def _stream(*requests: Message) -> AsyncIterator[Message]:
    for request in requests:
        yield request


def _relation(world: World) -> agent.Relation:
    return agent.Relation(
        source_id=world.agent_id, target_id=world.colleague_id, type=agent.RELATION_TYPE_COLLABORATES_WITH
    )


NOTHING = "nothing"
"""The answer is good, and empty of the other's."""

Ask = Callable[[World], Message]

ATTEMPTS: dict[tuple[Any, str], tuple[Ask, str]] = {
    (AuthServiceStub, "BatchGetUsers"): (lambda w: auth.BatchGetUsersRequest(ids=[w.owner_id]), NOTHING),
    (AuditServiceStub, "ListAuditEvents"): (
        lambda w: audit.ListAuditEventsRequest(filter=audit.AuditFilter(actor=w.owner_id)),
        NOTHING,
    ),
    (ApiKeysServiceStub, "CreateApiKey"): (lambda w: keys.CreateApiKeyRequest(name="mine"), NOTHING),
    (OrganizationsServiceStub, "UpdateOrganization"): (
        lambda w: organizations.UpdateOrganizationRequest(name="mine"),
        NOTHING,
    ),
    (MembersServiceStub, "ListMembers"): (lambda w: members.ListMembersRequest(page_size=1_000), NOTHING),
    (MembersServiceStub, "SetMemberRole"): (
        lambda w: members.SetMemberRoleRequest(user_id=w.owner_id, role_id="viewer"),
        "USER_NOT_FOUND",
    ),
    (MembersServiceStub, "RemoveMember"): (lambda w: members.RemoveMemberRequest(user_id=w.owner_id), "USER_NOT_FOUND"),
    (RolesServiceStub, "ListRoles"): (lambda w: roles.ListRolesRequest(), NOTHING),
    (RolesServiceStub, "CreateRole"): (
        lambda w: roles.CreateRoleRequest(role=roles.Role(name="mine", permissions=["agents:read"])),
        NOTHING,
    ),
    (RolesServiceStub, "UpdateRole"): (
        lambda w: roles.UpdateRoleRequest(
            role=roles.Role(id=w.role_id, name="taken over"), update_mask=FieldMask(paths=["name"])
        ),
        "ROLE_NOT_FOUND",
    ),
    (RolesServiceStub, "DeleteRole"): (lambda w: roles.DeleteRoleRequest(id=w.role_id), "ROLE_NOT_FOUND"),
    (InvitationsServiceStub, "CreateInvitation"): (
        lambda w: invitations.CreateInvitationRequest(email="mine@example.org", role_id=w.role_id),
        "ROLE_NOT_FOUND",
    ),
    (InvitationsServiceStub, "ListInvitations"): (lambda w: invitations.ListInvitationsRequest(), NOTHING),
    (InvitationsServiceStub, "RevokeInvitation"): (
        lambda w: invitations.RevokeInvitationRequest(id=w.invitation_id),
        "INVITATION_NOT_FOUND",
    ),
    (ApiKeysServiceStub, "ListApiKeys"): (lambda w: keys.ListApiKeysRequest(), NOTHING),
    (ApiKeysServiceStub, "RevokeApiKey"): (lambda w: keys.RevokeApiKeyRequest(id=w.api_key_id), "API_KEY_NOT_FOUND"),
    (ApiKeysServiceStub, "RotateApiKey"): (lambda w: keys.RotateApiKeyRequest(id=w.api_key_id), "API_KEY_NOT_FOUND"),
    (AgentStoreServiceStub, "CreateAgent"): (
        lambda w: agent.CreateAgentRequest(agent=agent.Agent(name="mine", collection_ids=[w.collection_id])),
        NOTHING,
    ),
    (AgentStoreServiceStub, "GetAgent"): (lambda w: agent.GetAgentRequest(id=w.agent_id), "AGENT_NOT_FOUND"),
    (AgentStoreServiceStub, "BatchGetAgents"): (lambda w: agent.BatchGetAgentsRequest(ids=[w.agent_id]), NOTHING),
    (AgentStoreServiceStub, "UpdateAgent"): (
        lambda w: agent.UpdateAgentRequest(
            agent=agent.Agent(id=w.agent_id, name="taken over"), update_mask=FieldMask(paths=["name"])
        ),
        "AGENT_NOT_FOUND",
    ),
    (AgentStoreServiceStub, "ListAgents"): (lambda w: agent.ListAgentsRequest(page_size=1_000), NOTHING),
    (AgentStoreServiceStub, "ListVersions"): (
        lambda w: agent.ListVersionsRequest(agent_id=w.agent_id),
        "AGENT_NOT_FOUND",
    ),
    (AgentStoreServiceStub, "BatchGetLatestVersions"): (
        lambda w: agent.BatchGetLatestVersionsRequest(agent_ids=[w.agent_id]),
        NOTHING,
    ),
    (AgentStoreServiceStub, "StartExecution"): (
        lambda w: agent.StartExecutionRequest(agent_id=w.agent_id),
        "AGENT_NOT_FOUND",
    ),
    (AgentStoreServiceStub, "FinishExecution"): (
        lambda w: agent.FinishExecutionRequest(id=w.execution_id, status=agent.EXECUTION_STATUS_SUCCEEDED),
        "EXECUTION_NOT_FOUND",
    ),
    (AgentStoreServiceStub, "BatchListExecutions"): (
        lambda w: agent.BatchListExecutionsRequest(agent_ids=[w.agent_id]),
        NOTHING,
    ),
    (AgentStoreServiceStub, "CreateRelation"): (
        lambda w: agent.CreateRelationRequest(relation=_relation(w)),
        "AGENT_NOT_FOUND",
    ),
    (AgentStoreServiceStub, "DeleteRelation"): (
        lambda w: agent.DeleteRelationRequest(relation=_relation(w)),
        NOTHING,
    ),
    (VectorSearchServiceStub, "CreateCollection"): (
        lambda w: vector.CreateCollectionRequest(collection=vector.Collection(name="mine")),
        NOTHING,
    ),
    (VectorSearchServiceStub, "GetCollection"): (
        lambda w: vector.GetCollectionRequest(id=w.collection_id),
        "COLLECTION_NOT_FOUND",
    ),
    (VectorSearchServiceStub, "ListCollections"): (
        lambda w: vector.ListCollectionsRequest(page_size=1_000),
        NOTHING,
    ),
    (VectorSearchServiceStub, "UpsertPoints"): (
        lambda w: vector.UpsertPointsRequest(
            collection_id=w.collection_id, points=[vector.Point(id=w.point_id, vector=[0.5, *ZEROS], text="taken")]
        ),
        "COLLECTION_NOT_FOUND",
    ),
    (VectorSearchServiceStub, "IngestDocument"): (
        lambda w: vector.IngestDocumentRequest(collection_id=w.collection_id, document_id=w.marker, text="taken"),
        "COLLECTION_NOT_FOUND",
    ),
    (VectorSearchServiceStub, "Search"): (
        lambda w: vector.SearchRequest(collection_ids=[w.collection_id], text="how to catch an exception"),
        NOTHING,
    ),
    (VectorSearchServiceStub, "BatchSearch"): (
        lambda w: vector.BatchSearchRequest(
            requests=[
                vector.SearchRequest(collection_ids=[w.collection_id], vector=vector.Vector(values=[1.0, *ZEROS]))
            ]
        ),
        NOTHING,
    ),
    (GraphServiceStub, "ListNeighbors"): (lambda w: graph.ListNeighborsRequest(node_id=w.agent_id), NOTHING),
    (GraphServiceStub, "BatchTraverse"): (
        lambda w: graph.BatchTraverseRequest(
            start_ids=[w.agent_id, w.collection_id, w.marker, w.owner_id], max_depth=6
        ),
        NOTHING,
    ),
}
IDS = [f"{stub.__name__.removesuffix('ServiceStub')}.{name}" for stub, name in ATTEMPTS]


def test_every_rpc_that_a_tenant_may_call_has_a_row() -> None:
    owner = Principal("someone", "user", None, OWNER, "", 0.0)
    open_to_tenants = {
        f"{file.package.split('.')[1]}.{method.name}"
        for file in (*AUTH_FILES, agent.DESCRIPTOR, vector.DESCRIPTOR, graph.DESCRIPTOR)
        for service in file.services_by_name.values()
        for method in service.methods
        if (rule := access_rule(f"/{service.full_name}/{method.name}")).permission and owner.allows(rule.permission)
    }
    assert {f"{stub.__module__.split('.')[1]}.{name}" for stub, name in ATTEMPTS} == open_to_tenants


@pytest.mark.parametrize(("stub", "name"), ATTEMPTS, ids=IDS)
async def test_a_stranger_gets_nothing(connect_as: Connect, world: World, second: Tenant, stub: Any, name: str) -> None:
    ask, expected = ATTEMPTS[stub, name]
    request: Any = ask(world)
    outcome, text = await _try(getattr(connect_as(stub, second), name), request)
    assert outcome == expected
    assert world.marker not in text.replace(f'start_id: "{world.marker}"', "")  # which only repeats the question


async def _try(method: Any, request: Any) -> tuple[str, str]:
    streamed = isinstance(request, vector.UpsertPointsRequest)
    try:
        answer = await method(_stream(request) if streamed else request)
    except grpc.aio.AioRpcError as error:
        return reason(error), str(error)
    return NOTHING, str(answer)


async def test_the_first_tenant_has_all_of_it_still(connect_as: Connect, world: World, first: Tenant) -> None:
    agents, vectors = connect_as(AgentStoreServiceStub, first), connect_as(VectorSearchServiceStub, first)
    kept = (await agents.GetAgent(agent.GetAgentRequest(id=world.agent_id))).agent
    assert (kept.name, kept.latest_version) == (world.marker, 1)
    (run,) = (await agents.BatchListExecutions(agent.BatchListExecutionsRequest(agent_ids=[world.agent_id]))).executions
    assert run.status == agent.EXECUTION_STATUS_RUNNING
    request = vector.SearchRequest(collection_ids=[world.collection_id], vector=vector.Vector(values=[1.0, *ZEROS]))
    hits = (await vectors.Search(request)).hits
    assert hits[0].point.id == world.point_id
    assert {world.marker in hit.point.text for hit in hits} == {True}
