"""Callers of the gateway, and organizations that have something in every service."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

PASSWORD = "correct horse battery staple"
DOCUMENT = """
Handlers for exceptions: the try statement specifies exception handlers for a group of statements. An except clause with
an expression matches an exception if the object is an instance of the expression's class.
"""
SETTLE_SECONDS = 60.0

REGISTER = """
mutation ($input: RegisterInput!) {
  register(input: $input) { user { id } organization { id } accessToken expireTime }
}
"""
CREATE_AGENT = "mutation ($input: CreateAgentInput!) { createAgent(input: $input) { id etag } }"
CREATE_COLLECTION = "mutation ($input: CreateCollectionInput!) { createCollection(input: $input) { id } }"
INGEST = "mutation ($input: IngestDocumentInput!) { ingestDocument(input: $input) { passageCount unchanged } }"
RELATE = "mutation ($input: RelationInput!) { createRelation(input: $input) { type } }"
START = "mutation ($input: StartExecutionInput!) { startExecution(input: $input) { id status } }"
FINISH = "mutation ($input: FinishExecutionInput!) { finishExecution(input: $input) { status durationMs } }"
COLLABORATORS = "query ($id: ID!) { agent(id: $id) { collaborators(depth: 2) { id } } }"


@dataclass(frozen=True, slots=True)
class Client:
    """Asks the gateway for one caller."""

    http: httpx.AsyncClient
    token: str | None = None

    async def answer(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole body of the answer."""
        body: dict[str, Any] = (await self.post({"query": query, "variables": variables})).json()
        return body

    async def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer without errors."""
        body = await self.answer(query, **variables)
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    async def error(self, query: str, **variables: Any) -> dict[str, Any]:
        """The one error of an answer."""
        body = await self.answer(query, **variables)
        [error] = body["errors"]
        found: dict[str, Any] = error
        return found

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        """The response to a request as it is."""
        return await self.http.post("/graphql", json=body, headers={**self.authorization, **headers})

    @property
    def authorization(self) -> dict[str, str]:
        """The header that says who asks."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True, slots=True)
class World:
    """An organization with two agents that work together, one of which knows a collection and has run."""

    client: Client
    organization_id: str
    user_id: str
    email: str
    agent_id: str
    collaborator_id: str
    collection_id: str
    execution_id: str


async def register(stranger: Client) -> tuple[Client, dict[str, Any], str]:
    """A new organization's owner, what the registration was answered, and the e-mail address."""
    email = f"{uuid4()}@example.org"
    person = {"email": email, "password": PASSWORD, "displayName": "Ada", "organizationName": "Works"}
    answer = (await stranger.data(REGISTER, input=person))["register"]
    return Client(stranger.http, answer["accessToken"]), answer, email


async def make_world(stranger: Client) -> World:
    """A new organization with something in every service."""
    client, answer, email = await register(stranger)
    collection = await client.data(CREATE_COLLECTION, input={"name": "docs"})
    collection_id = collection["createCollection"]["id"]
    document = {"collectionId": collection_id, "documentId": "exceptions", "text": DOCUMENT}
    await client.data(INGEST, input=document)
    agent_id = await make_agent(client, name="Librarian", collectionIds=[collection_id], topics=["exceptions"])
    collaborator_id = await make_agent(client, name="Editor")
    relation = {"sourceId": agent_id, "targetId": collaborator_id, "type": "COLLABORATES_WITH"}
    await client.data(RELATE, input=relation)
    started = await client.data(START, input={"agentId": agent_id, "input": {"question": "why"}})
    execution_id = started["startExecution"]["id"]
    ended = {"id": execution_id, "status": "SUCCEEDED", "output": {"answer": 42}, "inputTokens": 5_000_000_000}
    await client.data(FINISH, input=ended)
    await until_collaborates(client, agent_id)
    return World(
        client,
        answer["organization"]["id"],
        answer["user"]["id"],
        email,
        agent_id,
        collaborator_id,
        collection_id,
        execution_id,
    )


async def make_agent(client: Client, **fields: Any) -> str:
    """A new agent's id."""
    created = await client.data(CREATE_AGENT, input={"name": "Nobody", **fields})
    agent_id: str = created["createAgent"]["id"]
    return agent_id


async def until_collaborates(client: Client, agent_id: str) -> None:
    """Return when the graph has taken the relation in. Neo4j's very first answer can take longer than a request may."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            if (await client.answer(COLLABORATORS, id=agent_id))["data"]["agent"]["collaborators"]:
                return
            await asyncio.sleep(0.05)
