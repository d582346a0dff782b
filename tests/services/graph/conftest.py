"""Neo4j itself, changes as the feed would bring them, and what a graph of them must look like."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import suppress
from uuid import UUID, uuid4

import pytest_asyncio

from deploy.local.stack import Stack
from services.graph.projection import AgentState, Change, Projection, RelationState, State, agent_row, newest
from services.graph.store import GraphStore
from services.runtime import neo4j

Edge = tuple[str, str, str]
"""Source id, type, target id."""
Snapshot = tuple[dict[str, str], set[Edge]]
"""The name of each node that is shown, by id, and the edges between them."""

SNAPSHOT = """
MATCH (source {organization_id: $organization_id})
WHERE source.name IS NOT NULL
OPTIONAL MATCH (source)-[edge]->(target)
WHERE target.name IS NOT NULL AND type(edge) <> 'ENDED'
RETURN source.id AS id, source.name AS name, collect([source.id, type(edge), target.id]) AS edges
"""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def database(stack: Stack) -> AsyncIterator[neo4j.Database]:
    async with neo4j.connect(stack.neo4j_url, "neo4j", stack.secrets.neo4j) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="session")
async def graph(database: neo4j.Database) -> GraphStore:
    """With a position of its own, beside that of the running service."""
    store = GraphStore(database, feed=f"test {uuid4()}")
    await store.migrate()
    return store


class ListFeed:
    """A feed of what is given, position by position; with signs of life behind its end."""

    def __init__(self, changes: Sequence[Change] = (), batch: int = 3) -> None:
        self.changes = list(changes)
        self._batch = batch

    async def watch(self, after: str) -> AsyncGenerator[Sequence[Change], None]:
        begin = int(after or 0)
        while True:
            batch = self.changes[begin : begin + self._batch]
            begin += len(batch)
            yield batch
            if not batch:
                await asyncio.sleep(0.05)


class Line:
    """A way to a port of this machine that can be cut and restored: cheaper than ending what is behind it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self._ends: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Line":
        await self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def restore(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections and break those there are."""
        self._server.close()
        for end in self._ends:
            end.close()
        await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        ends = {writer, back}
        self._ends |= ends
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
        self._ends -= ends


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


def changes(states: Iterable[State | None]) -> list[Change]:
    """Numbered from 1."""
    return [Change(str(number), 0.0, state) for number, state in enumerate(states, 1)]


async def project(graph: GraphStore, *batches: Sequence[State | None]) -> Projection:
    """Take in some batches behind whatever was taken in before."""
    projection = Projection(graph, ListFeed(), clock=lambda: 2.5)
    position, _ = await graph.progress()
    for number, batch in enumerate(batches, int(position or 0) + 1):
        changed = [Change(str(number), 1.0, state) for state in batch]
        position = await projection.apply(position, changed)
    return projection


def agent(tenant: UUID, id_: str, revision: int = 1, **fields: object) -> AgentState:
    """An agent called after its id, with an owner of the same name."""
    given = {"name": f"Agent {id_}", "owner_id": "", "topics": (), "collection_ids": (), "deleted": False, **fields}
    return AgentState(str(tenant), id_, revision, **given)  # type: ignore[arg-type]


def relation(
    tenant: UUID, source: str, type_: str, target: str, revision: int = 1, ended: bool = False
) -> RelationState:
    """A relation whose id is as the agent store makes it."""
    return RelationState(str(tenant), f"{source}:{type_}:{target}", revision, source, target, type_, ended)


async def snapshot(database: neo4j.Database, tenant: UUID) -> Snapshot:
    """What Neo4j shows of a tenant, apart from users, topics and collections that nothing leads to any more."""
    rows = await database.read("snapshot", SNAPSHOT, {"organization_id": str(tenant)})
    edges = {tuple(edge) for row in rows for edge in row["edges"] if None not in edge}
    ends = {end for source, _, target in edges for end in (source, target)}
    return {row["id"]: row["name"] for row in rows if row["name"].startswith("Agent") or row["id"] in ends}, edges


def expected(states: Iterable[State]) -> Snapshot:
    """The same from the states alone: of each entity the newest."""
    known = list(states)
    names: dict[str, str] = {}
    edges: set[Edge] = set()
    for row in map(agent_row, newest(state for state in known if isinstance(state, AgentState))):
        if row["name"] is None:
            continue
        names[row["id"]] = row["name"]
        names |= dict.fromkeys((*row["owners"], *row["collections"]), "") | {topic: topic for topic in row["topics"]}
        edges |= {(owner, "OWNS", row["id"]) for owner in row["owners"]}
        edges |= {(row["id"], "KNOWS", collection) for collection in row["collections"]}
        edges |= {(row["id"], "EXPERT_IN", topic) for topic in row["topics"]}
    for state in newest(state for state in known if isinstance(state, RelationState)):
        if not state.deleted and {state.source_id, state.target_id} <= names.keys():
            edges.add((state.source_id, state.type, state.target_id))
    return names, edges
