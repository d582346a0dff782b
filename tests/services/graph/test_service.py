"""The whole path: what the agent store is told is what the graph answers, to those who may ask."""

import asyncio
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from deploy.local.stack import Stack
from neurectomy.agent_store.v1 import agent_store_pb2 as agents
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.graph.v1 import graph_pb2 as pb
from neurectomy.graph.v1.graph_pb2_grpc import GraphServiceStub
from services.graph.elements import Direction, EdgeType, NodeType
from tests.conftest import Connect, Tenant, reason, service_token

PATIENCE_SECONDS = 60
COLLABORATES = agents.RELATION_TYPE_COLLABORATES_WITH
SUPERVISES = agents.RELATION_TYPE_SUPERVISES


@pytest_asyncio.fixture(loop_scope="session")
async def team(connect_as: Connect, tenant: Tenant) -> dict[str, str]:
    """Ada, Bob and Cy, who work together in a row; their ids by name."""
    store = connect_as(AgentStoreServiceStub, tenant)
    ids = {}
    for name in ("Ada", "Bob", "Cy"):
        answer = await store.CreateAgent(agents.CreateAgentRequest(agent=agents.Agent(name=name, topics=["Graphs"])))
        ids[name] = answer.agent.id
    for source, type_, target in (("Bob", COLLABORATES, "Ada"), ("Bob", COLLABORATES, "Cy"), ("Ada", SUPERVISES, "Cy")):
        await store.CreateRelation(_relation(ids[source], type_, ids[target]))
    await _until(connect_as, tenant, ids["Ada"], {"Bob", "Cy", "graphs", ""})
    return ids


def _relation(source: str, type_: agents.RelationType.ValueType, target: str) -> agents.CreateRelationRequest:
    return agents.CreateRelationRequest(relation=agents.Relation(source_id=source, target_id=target, type=type_))


async def _until(connect_as: Connect, tenant: Tenant, node_id: str, names: set[str]) -> None:
    graph = connect_as(GraphServiceStub, tenant)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            answer = await graph.ListNeighbors(pb.ListNeighborsRequest(node_id=node_id))
            if {neighbor.node.name for neighbor in answer.neighbors} == names:
                return
            await asyncio.sleep(0.05)


async def test_collaborators_of_several_agents_in_one_call(
    connect_as: Connect, tenant: Tenant, team: dict[str, str]
) -> None:
    request = pb.BatchTraverseRequest(
        start_ids=[team["Ada"], team["Cy"]],
        types=[pb.EDGE_TYPE_COLLABORATES_WITH],
        direction=pb.DIRECTION_OUT,
        max_depth=2,
    )
    answer = await connect_as(GraphServiceStub, tenant).BatchTraverse(request)
    found = [
        (traversal.start_id, [(reached.node.name, reached.distance) for reached in traversal.nodes])
        for traversal in answer.traversals
    ]
    assert found == [(team["Ada"], [("Bob", 1), ("Cy", 2)]), (team["Cy"], [("Bob", 1), ("Ada", 2)])]
    assert not any(traversal.truncated for traversal in answer.traversals)


async def test_neighbors_say_which_way_an_edge_points(
    connect_as: Connect, tenant: Tenant, team: dict[str, str]
) -> None:
    graph = connect_as(GraphServiceStub, tenant)
    request = pb.ListNeighborsRequest(node_id=team["Cy"], types=[pb.EDGE_TYPE_SUPERVISES, pb.EDGE_TYPE_OWNS])
    answer = await graph.ListNeighbors(request)
    ada = pb.Node(id=team["Ada"], type=pb.NODE_TYPE_AGENT, name="Ada")
    owner = pb.Node(id=tenant.user_id, type=pb.NODE_TYPE_USER)
    assert list(answer.neighbors) == [
        pb.Neighbor(node=ada, type=pb.EDGE_TYPE_SUPERVISES, direction=pb.DIRECTION_IN),
        pb.Neighbor(node=owner, type=pb.EDGE_TYPE_OWNS, direction=pb.DIRECTION_IN),
    ]
    request.limit = 1
    answer = await graph.ListNeighbors(request)
    assert (len(answer.neighbors), answer.truncated) == (1, True)


async def test_what_is_changed_and_ended_is_followed(connect_as: Connect, tenant: Tenant, team: dict[str, str]) -> None:
    store = connect_as(AgentStoreServiceStub, tenant)
    changed = agents.Agent(id=team["Bob"], name="Bobby", topics=["Trees"])
    mask = FieldMask(paths=["name", "topics"])
    await store.UpdateAgent(agents.UpdateAgentRequest(agent=changed, update_mask=mask))
    await _until(connect_as, tenant, team["Bob"], {"Ada", "Cy", "trees", ""})
    await _until(connect_as, tenant, team["Ada"], {"Bobby", "Cy", "graphs", ""})
    relation = agents.Relation(source_id=team["Ada"], target_id=team["Cy"], type=SUPERVISES)
    await store.DeleteRelation(agents.DeleteRelationRequest(relation=relation))
    await _until(connect_as, tenant, team["Ada"], {"Bobby", "graphs", ""})


async def test_a_stranger_sees_nothing(
    connect_as: Connect, tenant: Tenant, other_tenant: Tenant, team: dict[str, str]
) -> None:
    graph = connect_as(GraphServiceStub, other_tenant)
    starts = [*team.values(), tenant.user_id, "graphs"]
    answer = await graph.BatchTraverse(pb.BatchTraverseRequest(start_ids=starts, max_depth=2))
    assert [(traversal.start_id, len(traversal.nodes)) for traversal in answer.traversals] == [
        (id_, 0) for id_ in starts
    ]
    for id_ in starts:
        assert await graph.ListNeighbors(pb.ListNeighborsRequest(node_id=id_)) == pb.ListNeighborsResponse()


async def test_the_projection_says_how_far_it_is(connect_as: Connect, stack: Stack, team: dict[str, str]) -> None:
    graph = connect_as(GraphServiceStub, await service_token(stack, "cli"))
    answer = await graph.GetProjectionStatus(pb.GetProjectionStatusRequest())
    assert answer.position
    assert answer.following
    assert 0 <= answer.lag.ToSeconds() < PATIENCE_SECONDS


REFUSED: dict[str, Any] = {
    "no start": ("BatchTraverse", pb.BatchTraverseRequest(), "INVALID_FIELDS"),
    "no node": ("ListNeighbors", pb.ListNeighborsRequest(), "INVALID_FIELDS"),
    "an operator's matter": ("GetProjectionStatus", pb.GetProjectionStatusRequest(), "PERMISSION_MISSING"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused(connect_as: Connect, tenant: Tenant, case: str) -> None:
    method, request, expected = REFUSED[case]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(connect_as(GraphServiceStub, tenant), method)(request)
    assert reason(refused.value) == expected


async def test_a_tiny_deadline_is_kept_and_does_no_harm(
    connect_as: Connect, tenant: Tenant, team: dict[str, str]
) -> None:
    graph = connect_as(GraphServiceStub, tenant)
    request = pb.BatchTraverseRequest(start_ids=list(team.values()), max_depth=2)
    for _ in range(50):
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await graph.BatchTraverse(request, timeout=0.0005)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    answers = await asyncio.gather(*(graph.BatchTraverse(request) for _ in range(50)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0].traversals[0].nodes


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (NodeType, pb.NodeType, "NODE_TYPE_"),
        (EdgeType, pb.EdgeType, "EDGE_TYPE_"),
        (Direction, pb.Direction, "DIRECTION_"),
    ],
)
def test_numbers_are_those_of_the_proto(ours: Any, theirs: Any, prefix: str) -> None:
    numbers = {name.removeprefix(prefix): number for name, number in theirs.items()}
    assert {member.name: member.value for member in ours} | {"UNSPECIFIED": 0} == numbers
