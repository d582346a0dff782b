"""The graph is what the newest state of each entity says, however the changes arrived."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import cast
from uuid import UUID, uuid4

import pytest

from deploy.local.stack import Stack
from services.graph.projection import Change, Projection, State, agent_row, merged, newest
from services.graph.store import GraphStore, Overtaken
from services.runtime import neo4j
from services.runtime.errors import ServiceUnavailable, StoreUnavailable
from tests.services.graph.conftest import Line, ListFeed, agent, changes, expected, project, relation, snapshot

PATIENCE_SECONDS = 60
T = UUID(int=0)
"""Stands for the tenant in tables."""
KNOWS_B = relation(T, "a", "COLLABORATES_WITH", "b")
A, B = agent(T, "a"), agent(T, "b")
ENDED = relation(T, "a", "COLLABORATES_WITH", "b", 2, ended=True)
RICH = agent(T, "a", 2, owner_id="u1", topics=("Python", "python", "Go"), collection_ids=("c1", "c2"))
POOR = agent(T, "a", 3, owner_id="u2", topics=("Go",), collection_ids=())

HISTORIES: dict[str, tuple[list[list[State | None]], set[tuple[str, str, str]], set[str]]] = {
    "the same twice": ([[A, B, KNOWS_B], [A, B, KNOWS_B]], {("a", "COLLABORATES_WITH", "b")}, {"a", "b"}),
    "a relation before its agents": ([[KNOWS_B], [B], [A]], {("a", "COLLABORATES_WITH", "b")}, {"a", "b"}),
    "a relation to an agent never seen": ([[A, KNOWS_B]], set(), {"a"}),
    "a relation that ended": ([[A, B, KNOWS_B], [ENDED]], set(), {"a", "b"}),
    "a relation that ended before it began": ([[A, B, ENDED], [KNOWS_B]], set(), {"a", "b"}),
    "a relation that began again": (
        [[A, B, KNOWS_B], [ENDED], [relation(T, "a", "COLLABORATES_WITH", "b", 3)]],
        {("a", "COLLABORATES_WITH", "b")},
        {"a", "b"},
    ),
    "two relations of one pair": (
        [[A, B, KNOWS_B, relation(T, "b", "SUPERVISES", "a")]],
        {("a", "COLLABORATES_WITH", "b"), ("b", "SUPERVISES", "a")},
        {"a", "b"},
    ),
    "a relation of a kind unheard of": ([[A, B, relation(T, "a", "ADMIRES", "b")]], set(), {"a", "b"}),
    "what an agent has": (
        [[RICH]],
        {
            ("u1", "OWNS", "a"),
            ("a", "EXPERT_IN", "python"),
            ("a", "EXPERT_IN", "go"),
            ("a", "KNOWS", "c1"),
            ("a", "KNOWS", "c2"),
        },
        {"a", "u1", "python", "go", "c1", "c2"},
    ),
    "what an agent has no more": (
        [[RICH], [POOR]],
        {("u2", "OWNS", "a"), ("a", "EXPERT_IN", "go")},
        {"a", "u2", "go"},
    ),
    "an older state late": (
        [[POOR], [RICH]],
        {("u2", "OWNS", "a"), ("a", "EXPERT_IN", "go")},
        {"a", "u2", "go"},
    ),
    "a deleted agent": ([[RICH, B, KNOWS_B], [agent(T, "a", 3, deleted=True)]], set(), {"b"}),
    "a deleted agent, and its past late": ([[B, KNOWS_B], [agent(T, "a", 3, deleted=True)], [RICH]], set(), {"b"}),
    "an agent that was restored": (
        [[A, B, KNOWS_B], [agent(T, "a", 2, deleted=True)], [agent(T, "a", 3)]],
        {("a", "COLLABORATES_WITH", "b")},
        {"a", "b"},
    ),
    "runs, which the graph does not show": ([[A], [None], [B]], set(), {"a", "b"}),
}


@pytest.mark.parametrize("history", HISTORIES)
async def test_histories(database: neo4j.Database, graph: GraphStore, history: str) -> None:
    batches, edges, shown = HISTORIES[history]
    tenant = uuid4()
    await project(
        graph, *[[state and replace(state, organization_id=str(tenant)) for state in batch] for batch in batches]
    )
    names, found = await snapshot(database, tenant)
    assert (found, set(names)) == (edges, shown)
    assert await graph.progress() == (str(len(batches)), 1.5)


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_and_any_repetition_leave_the_same_graph(
    database: neo4j.Database, graph: GraphStore, seed: int
) -> None:
    chance = random.Random(seed)
    tenant = uuid4()
    states = _history(chance, tenant)
    arrived = [*states, *chance.choices(states, k=30)]
    chance.shuffle(arrived)
    batches = [arrived[at : at + 7] for at in range(0, len(arrived), 7)]
    await project(graph, *batches)
    assert await snapshot(database, tenant) == expected(states)


async def test_a_batch_that_fails_moves_nothing(database: neo4j.Database, graph: GraphStore) -> None:
    tenant = uuid4()
    unstorable = agent(tenant, "b", name=cast(str, {"not": "a name"}))
    await project(graph, [agent(tenant, "a")])
    with pytest.raises(Exception, match="primitive types"):
        await project(graph, [agent(tenant, "c"), unstorable])
    assert await snapshot(database, tenant) == ({"a": "Agent a"}, set())
    assert await graph.progress() == ("1", 1.5)


async def test_a_batch_counts_only_where_neo4j_is(database: neo4j.Database, graph: GraphStore) -> None:
    tenant = uuid4()
    projection = await project(graph, [agent(tenant, "a")])
    late = [Change("9", 1.0, agent(tenant, "b"))]
    for wrong in ("", "0", "2"):
        with pytest.raises(Overtaken):
            await projection.apply(wrong, late)
        with pytest.raises(Overtaken):
            await projection.apply(wrong, [])
    assert await snapshot(database, tenant) == ({"a": "Agent a"}, set())


async def test_several_projections_at_once_lose_and_double_nothing(database: neo4j.Database, graph: GraphStore) -> None:
    tenant = uuid4()
    states = _history(random.Random(7), tenant)
    feed = ListFeed(changes(states))
    replicas = [Projection(graph, feed) for _ in range(3)]
    async with replicas[0].running(), replicas[1].running(), replicas[2].running():
        await _until_reached(graph, str(len(states)))
    assert await snapshot(database, tenant) == expected(states)
    counted = await database.read("count", COUNT, {"organization_id": str(tenant)})
    assert counted[0]["doubled"] == 0


async def test_a_lost_neo4j_is_built_anew_by_itself(database: neo4j.Database, graph: GraphStore) -> None:
    tenant = uuid4()
    states = _history(random.Random(8), tenant)
    feed = ListFeed(changes(states))
    projection = Projection(graph, feed)
    async with projection.running():
        await _until_reached(graph, str(len(states)))
        before = await snapshot(database, tenant)
        async with database.transaction() as statements:
            await statements.run("lose", LOSE, {"organization_id": str(tenant), "feed": graph.feed})
        await _until_reached(graph, str(len(states)))
    assert await snapshot(database, tenant) == before == expected(states)


async def test_a_projection_outlives_an_absent_neo4j(database: neo4j.Database, stack: Stack) -> None:
    tenant = uuid4()
    states = _history(random.Random(9), tenant)
    feed = ListFeed(changes(states[:10]))
    line = Line(stack.ports["neo4j"])
    async with line, neo4j.connect(f"bolt://127.0.0.1:{line.port}", "neo4j", stack.secrets.neo4j) as behind_the_line:
        graph = GraphStore(behind_the_line, feed=f"test {tenant}")
        projection = Projection(graph, feed)
        async with projection.running():
            await _until_reached(graph, "10")
            await line.cut()
            feed.changes = changes(states)
            await _until_not_following(projection)
            await line.restore()
            await _until_reached(graph, str(len(states)))
    assert await snapshot(database, tenant) == expected(states)


async def test_what_comes_later_is_taken_in_and_following_is_told(database: neo4j.Database, graph: GraphStore) -> None:
    tenant = uuid4()
    feed = ListFeed()
    projection = Projection(graph, feed)
    assert not projection.following
    async with projection.running():
        feed.changes += changes([agent(tenant, "a")])
        await _until_reached(graph, "1")
        assert projection.following
    assert (await snapshot(database, tenant))[0] == {"a": "Agent a"}


async def test_what_comes_while_one_is_busy_is_merged_and_a_failure_loses_nothing() -> None:
    async def feed() -> AsyncGenerator[Sequence[Change], None]:
        for change in changes([None] * 50):
            yield [change]
        raise ServiceUnavailable("agent_store")

    taken: list[Sequence[Change]] = []
    async with aclosing(merged(feed())) as batches:
        with suppress(ServiceUnavailable):
            while True:
                taken.append(await anext(batches))
    assert [change for batch in taken for change in batch] == changes([None] * 50)
    assert len(taken) < 50


async def test_a_sign_of_life_is_passed_on_and_the_end_is_the_end() -> None:
    async def feed() -> AsyncGenerator[Sequence[Change], None]:
        yield []

    assert [batch async for batch in merged(feed())] == [[]]


def test_newest_keeps_the_highest_revision_of_each_entity_of_each_tenant() -> None:
    one, two = uuid4(), uuid4()
    states = [agent(one, "a", 2), agent(one, "a", 1), agent(two, "a", 1), agent(one, "b", 1)]
    assert newest(states) == [states[0], states[2], states[3]]


def test_nothing_is_left_of_a_deleted_agent() -> None:
    row = agent_row(agent(T, "a", 3, owner_id="u", topics=("x",), collection_ids=("c",), deleted=True))
    assert (row["name"], row["owners"], row["topics"], row["collections"], row["revision"]) == (None, [], [], [], 3)


COUNT = """
MATCH ({organization_id: $organization_id})-[edge]->(target)
WITH edge.id AS id, count(*) AS times WHERE id IS NOT NULL AND times > 1
RETURN count(*) AS doubled
"""
LOSE = """
MATCH (node) WHERE node.organization_id = $organization_id OR node:Projection AND node.name = $feed
DETACH DELETE node
"""


def _history(chance: random.Random, tenant: UUID) -> list[State]:
    """Some agents and relations, each changed a few times, in order."""
    states: list[State] = []
    ids = [f"agent-{number}" for number in range(8)]
    for id_ in ids:
        for revision in range(1, chance.randint(2, 5)):
            topics = tuple(chance.sample(["Python", "Go", "SQL"], chance.randint(0, 2)))
            collections = tuple(chance.sample(["c1", "c2", "c3"], chance.randint(0, 2)))
            owner, deleted = chance.choice(["u1", "u2"]), chance.random() < 0.2
            fields = {"owner_id": owner, "topics": topics, "collection_ids": collections, "deleted": deleted}
            states.append(agent(tenant, id_, revision, name=f"Agent {id_} {revision}", **fields))
    for _ in range(12):
        source, target = chance.sample(ids, 2)
        type_ = chance.choice(["COLLABORATES_WITH", "DELEGATES_TO", "SUPERVISES"])
        last = chance.randint(1, 4)
        states += [relation(tenant, source, type_, target, at, ended=at % 2 == 0) for at in range(1, last + 1)]
    chance.shuffle(states)
    return states


async def _until_reached(graph: GraphStore, position: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(StoreUnavailable):
                reached, _ = await graph.progress()
                if reached == position:
                    return
            await asyncio.sleep(0.02)


async def _until_not_following(projection: Projection) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while projection.following:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)
