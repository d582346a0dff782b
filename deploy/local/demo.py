"""Demo data: a read-only organization whose agents have really read Python's documentation, and really ran.

All of it goes through the services' own APIs but the people, whose organization has a fixed id. Every step is safe to
repeat, so that a seeding that was broken off goes on where it stopped.
"""

import itertools
import secrets
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics as documentation
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from uuid_utils.compat import uuid7

from deploy.local.addresses import DEMO_ORGANIZATION, Addresses
from neurectomy.agent_store.v1 import agent_store_pb2 as agent_pb
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.vector_search.v1 import vector_search_pb2 as vector_pb
from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceStub
from services.auth.origin import Origin
from services.auth.passwords import HashingPool, Passwords, Profile
from services.auth.permissions import ROLES
from services.auth.revocations import Revocations
from services.auth.sealing import Keyring
from services.auth.sessions import Lifetimes, Member, Sessions
from services.auth.signing_keys import SigningKeys
from services.auth.store import accounts
from services.auth.tokens import Tokens
from services.runtime import channels, postgres

if TYPE_CHECKING:
    from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceAsyncStub
    from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceAsyncStub

CAST = Path(__file__).with_name("demo.toml")
RUNS_PER_AGENT = 4
TOKEN_SECONDS = 3_600

Report = Callable[[str, str], None]


@dataclass(slots=True)
class Demo:
    """One seeding: stubs that act for the organization's owner, and the ids of what is there already."""

    agents: "AgentStoreServiceAsyncStub"
    vectors: "VectorSearchServiceAsyncStub"
    users: Mapping[str, UUID]
    collections: dict[str, str] = field(default_factory=dict)

    async def is_complete(self, last_agent: str) -> bool:
        """Whether the agent that is hired last is there, with its runs."""
        newest = (await self.agents.ListAgents(agent_pb.ListAgentsRequest(page_size=1))).agents
        if not newest or newest[0].name != last_agent:
            return False
        request = agent_pb.BatchListExecutionsRequest(agent_ids=[newest[0].id])
        return len((await self.agents.BatchListExecutions(request)).executions) == RUNS_PER_AGENT

    async def read(self, name: str, topics: list[str]) -> None:
        """A collection of Python's documentation on those of the topics that this Python has."""
        collection_id = self.collections[name] = await self._collection(name)
        for topic in topics:
            if text := documentation.get(topic):
                await self.vectors.IngestDocument(
                    vector_pb.IngestDocumentRequest(collection_id=collection_id, document_id=topic, text=text)
                )

    async def _collection(self, name: str) -> str:
        there = (await self.vectors.ListCollections(vector_pb.ListCollectionsRequest())).collections
        if ids := [collection.id for collection in there if collection.name == name]:
            return ids[0]
        request = vector_pb.CreateCollectionRequest(collection=vector_pb.Collection(name=name))
        return (await self.vectors.CreateCollection(request)).collection.id

    async def hire(self, team: Mapping[str, Any]) -> None:
        """A team's agents, in their second version, with their relations and runs."""
        ids = [await self._create(team, name) for name in team["agents"]]
        for member in ids[1:]:
            await self._relate(ids[0], member, agent_pb.RELATION_TYPE_SUPERVISES)
        for one, following in itertools.pairwise(ids):
            await self._relate(one, following, agent_pb.RELATION_TYPE_DELEGATES_TO)
            await self._relate(one, following, agent_pb.RELATION_TYPE_COLLABORATES_WITH)
        questions = itertools.cycle([*team["questions"], ""])
        for run, (agent_id, question) in enumerate(zip(ids * RUNS_PER_AGENT, questions, strict=False)):
            await self._run(agent_id, question, team["collections"], run)

    async def _create(self, team: Mapping[str, Any], name: str) -> str:
        agent = agent_pb.Agent(
            name=name,
            description=f"Answers questions on {' and '.join(team['topics'])} from Python's own documentation.",
            type="retriever",
            model=agent_pb.Model(provider="openai", name="gpt-5-mini"),
            system_prompt="Answer from the passages you are given, and name the topic you found them under.",
            capabilities=["search", "cite"],
            tags=["demo", "python"],
            owner_id=str(self.users[team["owner"]]),
            topics=team["topics"],
            collection_ids=[self.collections[collection] for collection in team["collections"]],
        )
        request = agent_pb.CreateAgentRequest(agent=agent, request_id=_request_id("agent", name))
        agent_id = (await self.agents.CreateAgent(request)).agent.id
        active = agent_pb.Agent(id=agent_id, status=agent_pb.AGENT_STATUS_ACTIVE)
        await self.agents.UpdateAgent(
            agent_pb.UpdateAgentRequest(agent=active, update_mask=FieldMask(paths=["status"]))
        )
        return agent_id

    async def _relate(self, source: str, target: str, kind: agent_pb.RelationType.ValueType) -> None:
        relation = agent_pb.Relation(source_id=source, target_id=target, type=kind)
        await self.agents.CreateRelation(agent_pb.CreateRelationRequest(relation=relation))

    async def _run(self, agent_id: str, question: str, collections: list[str], number: int) -> None:
        """A run is a search. The empty question fails, as a real one would."""
        request_id = _request_id("run", f"{agent_id} {number}")
        request = agent_pb.StartExecutionRequest(
            agent_id=agent_id, input=_struct(question=question), request_id=request_id
        )
        run = (await self.agents.StartExecution(request)).execution
        finish = agent_pb.FinishExecutionRequest(id=run.id)
        await self._answer(question, collections, finish)
        if run.status == agent_pb.EXECUTION_STATUS_RUNNING:
            await self.agents.FinishExecution(finish)

    async def _answer(self, question: str, collections: list[str], finish: agent_pb.FinishExecutionRequest) -> None:
        ids = [self.collections[name] for name in collections]
        request = vector_pb.SearchRequest(collection_ids=ids, text=question, limit=3)
        try:
            found = await self.vectors.Search(request)
        except grpc.aio.AioRpcError as error:
            finish.status, finish.error = agent_pb.EXECUTION_STATUS_FAILED, error.details() or ""
            return
        finish.status = agent_pb.EXECUTION_STATUS_SUCCEEDED
        finish.output.CopyFrom(_struct(passages=[hit.point.text for hit in found.hits]))


async def seed(stack: Addresses, report: Report) -> bool:
    """Fill the demo organization, unless it is filled; says whether anything was done."""
    cast = tomllib.loads(CAST.read_text())
    async with _opened(stack, cast) as demo:
        if await demo.is_complete(cast["teams"][-1]["agents"][-1]):
            return False
        for name, topics in cast["collections"].items():
            report("demo data", f"reading {name}")
            await demo.read(name, topics)
        for team in cast["teams"]:
            report("demo data", f"hiring the {team['agents'][0]} and team")
            await demo.hire(team)
    return True


@asynccontextmanager
async def _opened(stack: Addresses, cast: Mapping[str, Any]) -> AsyncIterator[Demo]:
    async with AsyncExitStack() as resources:
        url = stack.database_url("auth")
        database = await resources.enter_async_context(postgres.connect(url, 5, postgres.jsonb_as_objects))
        users = await _people(database, cast)
        keyring, tokens = Keyring(stack.state.secret("encryption")), Tokens([], TOKEN_SECONDS)
        await SigningKeys(database, keyring, tokens, Revocations(TOKEN_SECONDS)).reload()
        token = await _logged_in(database, tokens, users[cast["users"][0]["name"]])

        async def owners() -> str:
            return token

        agents = await resources.enter_async_context(channels.connect(stack.targets["agent_store"], owners, stack.tls))
        vectors = await resources.enter_async_context(
            channels.connect(stack.targets["vector_search"], owners, stack.tls)
        )
        yield Demo(AgentStoreServiceStub(agents), VectorSearchServiceStub(vectors), users)


async def _logged_in(database: postgres.Database, tokens: Tokens, owner_id: UUID) -> str:
    """The owner's token, in a session as any other: services refuse a token whose session they do not find."""
    owner = Member(DEMO_ORGANIZATION, owner_id, ROLES["owner"], version=1)
    async with database.tenant(DEMO_ORGANIZATION) as statements:
        sessions = Sessions(tokens, Lifetimes(TOKEN_SECONDS, TOKEN_SECONDS))
        issued = await sessions.begin(statements, owner, Origin(device="neurectomy seed"))
    return issued.access_token.token


async def _people(database: postgres.Database, cast: Mapping[str, Any]) -> dict[str, UUID]:
    """The users by name. Nobody knows their passwords: the demo organization is for reading."""
    profile = Profile.RFC_9106_LOW_MEMORY
    with HashingPool(profile.megabytes, profile.megabytes, queue=0) as pool:
        unusable = await Passwords(profile, pool).hash(secrets.token_urlsafe(24))
    async with database.all_tenants() as statements:
        return {user["name"]: await _person(statements, cast["organization"], user, unusable) for user in cast["users"]}


async def _person(statements: postgres.Statements, organization: str, user: Mapping[str, str], unusable: str) -> UUID:
    name, email = user["name"], f"{user['name'].split()[0].lower()}@demo.neurectomy.example"
    if known := await accounts.credentials(statements, email, DEMO_ORGANIZATION):
        return UUID(str(known["user_id"]))
    user_id = uuid7()
    if user["role"] == "owner":
        await accounts.insert_account(statements, DEMO_ORGANIZATION, organization, user_id, email, name, unusable)
    else:
        await accounts.insert_member(statements, DEMO_ORGANIZATION, user_id, email, name, unusable, user["role"])
    return user_id


def _request_id(kind: str, name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"neurectomy demo {kind} {name}"))


def _struct(**fields: Any) -> Struct:
    struct = Struct()
    struct.update(fields)
    return struct
