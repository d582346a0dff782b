"""What can be read in one query, through all services."""

from typing import Any, cast

import pytest
from graphql import build_client_schema, get_introspection_query, print_schema

from gateway.execution import load_schema
from tests.gateway.clients import Client, World

SHOW = """
{ agents(first: 3) { name owner { displayName } latestVersion { number } executions(first: 2) { status durationMs }
  knowledge(query: "how do I catch an exception", first: 3) { text score } collaborators(depth: 2) { name } } }
"""
EVERYTHING = """
query ($id: ID!) {
  agent(id: $id) {
    __typename id name description status type systemPrompt capabilities memoryConfig retrievalConfig tags ownerId
    topics collectionIds etag createTime updateTime
    model { provider name config }
    owner { id displayName email createTime }
    latestVersion { number creatorId createTime creator { displayName } agent { name } }
    versions(first: 5) { number agent { name } }
    executions(first: 1) {
      id agentId version status input output error startTime endTime durationMs inputTokens outputTokens agent { name }
    }
    knowledge(query: "exceptions", first: 1) { id text score metadata collectionId documentId }
    knowledgeSearch(query: "exceptions", first: 1) { exact hits { id } }
    collaborators { id name distance agent { name } }
    supervisors { name }
    neighbors(direction: OUT) { id name nodeType edgeType direction }
  }
}
"""


async def test_the_simplest_query(world: World) -> None:
    data = await world.client.data("query { agents { id name } }")
    assert [agent["name"] for agent in data["agents"]] == ["Editor", "Librarian"]  # newest first


async def test_one_query_through_four_services(world: World) -> None:
    editor, librarian = (await world.client.data(SHOW))["agents"]
    assert librarian["owner"] == {"displayName": "Ada"}
    assert librarian["latestVersion"] == {"number": 1}
    [execution] = librarian["executions"]
    assert execution["status"] == "SUCCEEDED"
    assert execution["durationMs"] > 0
    assert "except clause" in librarian["knowledge"][0]["text"]
    assert librarian["collaborators"] == [{"name": "Editor"}]
    assert editor["collaborators"] == [{"name": "Librarian"}]
    assert editor["knowledge"] == []


async def test_every_field_of_an_agent(world: World) -> None:
    agent = (await world.client.data(EVERYTHING, id=world.agent_id))["agent"]
    assert agent["owner"]["email"] == world.email
    assert agent["latestVersion"]["creator"] == {"displayName": "Ada"}
    assert agent["createTime"].endswith("Z")
    assert agent["model"] is None or set(agent["model"]) == {"provider", "name", "config"}
    [execution] = agent["executions"]
    assert execution["inputTokens"] == 5_000_000_000
    assert (execution["input"], execution["output"]) == ({"question": "why"}, {"answer": 42})
    assert execution["error"] is None
    assert agent["knowledgeSearch"]["hits"] == [{"id": agent["knowledge"][0]["id"]}]
    [collaborator] = agent["collaborators"]
    assert collaborator == {"id": world.collaborator_id, "name": "Editor", "distance": 1, "agent": {"name": "Editor"}}
    assert {neighbor["edgeType"] for neighbor in agent["neighbors"]} == {"COLLABORATES_WITH", "KNOWS", "EXPERT_IN"}


async def test_a_connection_is_walked_by_any_of_its_cursors(world: World) -> None:
    query = """query ($first: Int! = 1, $after: String) { agentsConnection(first: $first, after: $after) {
        edges { cursor node { name } } nodes { name }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
    whole = (await world.client.data(query, first=10))["agentsConnection"]
    assert [edge["node"]["name"] for edge in whole["edges"]] == ["Editor", "Librarian"]
    assert whole["nodes"] == [edge["node"] for edge in whole["edges"]]
    assert not whole["pageInfo"]["hasNextPage"]
    assert whole["pageInfo"]["endCursor"] == whole["edges"][-1]["cursor"]

    behind_first = (await world.client.data(query, after=whole["edges"][0]["cursor"]))["agentsConnection"]
    assert behind_first["nodes"] == [{"name": "Librarian"}]
    assert behind_first["pageInfo"]["hasPreviousPage"]

    page = (await world.client.data(query))["agentsConnection"]
    assert page["pageInfo"]["hasNextPage"]
    assert page["pageInfo"]["endCursor"] == page["pageInfo"]["startCursor"] == whole["edges"][0]["cursor"]


async def test_agents_continue_behind_a_cursor_and_are_filtered_by_status(world: World) -> None:
    query = "{ agentsConnection(first: 1) { pageInfo { endCursor } } }"
    cursor = (await world.client.data(query))["agentsConnection"]["pageInfo"]["endCursor"]
    data = await world.client.data("query ($after: String) { agents(after: $after) { name } }", after=cursor)
    assert data["agents"] == [{"name": "Librarian"}]
    assert (await world.client.data("{ agents(status: ARCHIVED) { name } }"))["agents"] == []


async def test_me(world: World) -> None:
    viewer = (await world.client.data("{ me { user { id email } organization { id } permissions } }"))["me"]
    assert viewer["user"] == {"id": world.user_id, "email": world.email}
    assert viewer["organization"]["id"] == world.organization_id
    assert "agents:*" in viewer["permissions"]


async def test_collections_and_search(world: World) -> None:
    collection_id = world.collection_id
    query = """query ($id: ID!, $ids: [ID!]!) {
        collections { id name dimension metric pointCount embeddingModel createTime } collection(id: $id) { name }
        search(collectionIds: $ids, text: "exceptions", first: 1) { exact hits { documentId collectionId } } }"""
    data = await world.client.data(query, id=collection_id, ids=[collection_id])
    [collection] = data["collections"]
    assert collection["metric"] == "COSINE"
    assert collection["pointCount"] >= 1
    assert data["collection"] == {"name": "docs"}
    assert data["search"] == {"exact": True, "hits": [{"documentId": "exceptions", "collectionId": collection_id}]}


async def test_the_schema_can_be_asked_for(stranger: Client) -> None:
    schema = build_client_schema(cast(Any, await stranger.data(get_introspection_query(specified_by_url=True))))
    assert print_schema(schema) == print_schema(load_schema())


@pytest.mark.parametrize(
    ("attribute", "kind"), [("agent_id", "Agent"), ("user_id", "User"), ("collection_id", "Collection")]
)
async def test_a_node_is_found_wherever_it_lives(world: World, attribute: str, kind: str) -> None:
    node_id = getattr(world, attribute)
    data = await world.client.data("query ($id: ID!) { node(id: $id) { __typename id } }", id=node_id)
    assert data["node"] == {"__typename": kind, "id": node_id}


@pytest.mark.parametrize("unknown", ["01980000-0000-7000-8000-00000000dead", "no uuid"])
async def test_an_unknown_node_is_null(world: World, unknown: str) -> None:
    assert (await world.client.data("query ($id: ID!) { node(id: $id) { id } }", id=unknown))["node"] is None


READS: list[tuple[str, str, Any]] = [
    ("agent", "query ($id: ID!) { agent(id: $id) { name } }", "agent_id"),
    ("collection", "query ($id: ID!) { collection(id: $id) { name } }", "collection_id"),
    ("node", "query ($id: ID!) { node(id: $id) { id } }", "agent_id"),
    ("node", "query ($id: ID!) { node(id: $id) { id } }", "collection_id"),
    ("node", "query ($id: ID!) { node(id: $id) { id } }", "user_id"),
]


@pytest.mark.parametrize(("field", "query", "attribute"), READS)
async def test_one_tenant_reads_nothing_of_another(
    world: World, other_world: World, field: str, query: str, attribute: str
) -> None:
    body = await other_world.client.answer(query, id=getattr(world, attribute))
    assert body["data"][field] is None
    assert (await world.client.data(query, id=getattr(world, attribute)))[field] is not None


async def test_one_tenant_searches_lists_and_traverses_nothing_of_another(world: World, other_world: World) -> None:
    search = 'query ($ids: [ID!]!) { search(collectionIds: $ids, text: "exceptions") { hits { text } } }'
    assert (await other_world.client.data(search, ids=[world.collection_id]))["search"]["hits"] == []
    listed = await other_world.client.data("{ agents { id collaborators(depth: 6) { id } } collections { id } }")
    seen = {agent["id"] for agent in listed["agents"]} | {each["id"] for each in listed["collections"]}
    seen |= {each["id"] for agent in listed["agents"] for each in agent["collaborators"]}
    assert seen == {other_world.agent_id, other_world.collaborator_id, other_world.collection_id}


async def test_a_tenant_cannot_reach_another_through_an_agent_that_names_its_things(
    world: World, other_world: World, stranger: Client
) -> None:
    fields = {"name": "Spy", "collectionIds": [world.collection_id], "ownerId": world.user_id}
    create = "mutation ($input: CreateAgentInput!) { createAgent(input: $input) { id " + (
        'owner { id } knowledge(query: "exceptions") { text } collaborators { id } } }'
    )
    spy = (await other_world.client.data(create, input=fields))["createAgent"]
    assert (spy["owner"], spy["knowledge"], spy["collaborators"]) == (None, [], [])
    relate = "mutation ($input: RelationInput!) { createRelation(input: $input) { type } }"
    relation = {"sourceId": spy["id"], "targetId": world.agent_id, "type": "SUPERVISES"}
    assert (await other_world.client.error(relate, input=relation))["extensions"]["reason"] == "AGENT_NOT_FOUND"
