"""Traversals against a breadth-first search in plain Python, their caps, and what no one may see."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from services.graph import traversal
from services.graph.elements import MUTUAL, Direction, EdgeType, NodeType, Traversal
from services.graph.projection import AgentState, State
from services.graph.store import GraphStore
from services.runtime import neo4j
from services.runtime.deadlines import set_budget
from services.runtime.errors import DeadlineExceeded, InvalidFields
from tests.services.graph.conftest import Edge, agent, expected, project, relation

RELATIONS = ("COLLABORATES_WITH", "DELEGATES_TO", "SUPERVISES")
QUESTIONS: list[tuple[list[int], int, int]] = [
    ([], 0, 1),
    ([], Direction.BOTH, 3),
    ([EdgeType.COLLABORATES_WITH], Direction.OUT, 2),
    ([EdgeType.COLLABORATES_WITH, EdgeType.SUPERVISES], Direction.OUT, 6),
    ([EdgeType.COLLABORATES_WITH, EdgeType.DELEGATES_TO], Direction.IN, 3),
    ([EdgeType.SUPERVISES, EdgeType.DELEGATES_TO], Direction.OUT, 4),
    ([EdgeType.OWNS], Direction.IN, 1),
    ([EdgeType.EXPERT_IN, EdgeType.KNOWS], Direction.BOTH, 5),
]
"""Edge types, direction and depth: some of all that can be asked, for each is a statement to plan."""

CROSS = """
MATCH (source:Agent {organization_id: $one}), (target:Agent {organization_id: $two})
CREATE (source)-[:SUPERVISES]->(target)
"""

Found = tuple[list[tuple[int, str]], bool]
"""Distance and id of what was reached, and whether something was cut."""


@pytest.mark.parametrize("seed", range(12))
async def test_traversals_are_breadth_first_searches(graph: GraphStore, seed: int) -> None:
    chance, tenant = random.Random(seed), uuid4()
    states = _states(chance, tenant, agents=chance.randint(5, 60))
    await project(graph, states)
    names, edges = expected(states)
    starts = [*chance.sample(sorted(names), 4), "unknown"]
    for types, direction, depth in QUESTIONS:
        limit = chance.choice([1, 3, 10, 1_000])
        answer = await traversal.traverse(graph, tenant, starts, types, direction, depth, limit)
        assert [found.start_id for found in answer] == starts
        steps = _steps(edges, types, direction)
        assert [_found(found) for found in answer] == [_search(start, steps, names, depth, limit) for start in starts]


@pytest.mark.parametrize("seed", range(12))
async def test_neighbors_are_the_edges_of_a_node(graph: GraphStore, seed: int) -> None:
    chance, tenant = random.Random(100 + seed), uuid4()
    states = _states(chance, tenant, agents=chance.randint(3, 20))
    await project(graph, states)
    names, edges = expected(states)
    for types, direction, _ in QUESTIONS:
        start, limit = chance.choice(sorted(names)), chance.choice([1, 4, 1_000])
        answer, truncated = await traversal.neighbors(graph, tenant, start, types, direction, limit)
        wanted = sorted((type_, names[id_], id_, way) for type_, way, id_ in _edges_of(start, edges, types, direction))
        found = [(edge.type, edge.node.name, edge.node.id, edge.direction) for edge in answer]
        assert found == wanted[:limit]
        assert truncated == (len(wanted) > limit)


async def test_nodes_have_their_types_and_names(graph: GraphStore) -> None:
    tenant = uuid4()
    await project(graph, [agent(tenant, "a", owner_id="u", topics=("Go",), collection_ids=("c",))])
    [answer] = await traversal.traverse(graph, tenant, ["a"], [], 0, 0, 0)
    assert [(reached.node.type, reached.node.id, reached.node.name) for reached in answer.nodes] == [
        (NodeType.COLLECTION, "c", ""),
        (NodeType.USER, "u", ""),
        (NodeType.TOPIC, "go", "go"),
    ]


async def test_a_hub_costs_no_accuracy(graph: GraphStore) -> None:
    """Past the scan, too, a cut answer is the nearest nodes at their least distances."""
    tenant, many = uuid4(), traversal.TRAVERSAL_SCAN + 300
    leaves = [f"leaf-{number:04}" for number in range(many)]
    states: list[State] = [agent(tenant, name) for name in ("hub", "near", "far", *leaves)]
    states += [relation(tenant, "hub", "SUPERVISES", leaf) for leaf in leaves]
    states += [relation(tenant, "near", "SUPERVISES", "hub"), relation(tenant, "leaf-0000", "SUPERVISES", "far")]
    await project(graph, states)
    [answer] = await traversal.traverse(graph, tenant, ["near"], [], 0, 6, 20)
    assert answer.truncated
    assert [reached.distance for reached in answer.nodes] == [1] + [2] * 19
    [answer] = await traversal.traverse(graph, tenant, ["far"], [], 0, 6, 1_000)
    distances = {reached.node.id: reached.distance for reached in answer.nodes}
    assert (answer.truncated, len(distances)) == (False, many + 2)
    assert (distances["leaf-0000"], distances["hub"], distances["near"], distances["leaf-0001"]) == (1, 2, 3, 3)
    found, truncated = await traversal.neighbors(graph, tenant, "hub", [], 0, 10)
    assert (len(found), truncated) == (10, True)


@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_truncated_says_exactly_whether_more_was_there(graph: GraphStore, over: int) -> None:
    tenant, limit = uuid4(), 5
    leaves = [f"leaf-{number}" for number in range(limit + over)]
    await project(graph, [agent(tenant, id_) for id_ in ("hub", *leaves)])
    await project(graph, [relation(tenant, "hub", "COLLABORATES_WITH", leaf) for leaf in leaves])
    for depth in (1, 2, 6):
        [answer] = await traversal.traverse(graph, tenant, ["hub"], [], 0, depth, limit)
        assert (len(answer.nodes), answer.truncated) == (min(limit, limit + over), over > 0)
    [answer] = await traversal.traverse(graph, tenant, ["leaf-0"], [], 0, 2, limit)
    assert (len(answer.nodes), answer.truncated) == (min(limit, limit + over), over > 0)
    found, truncated = await traversal.neighbors(graph, tenant, "hub", [], 0, limit)
    assert (len(found), truncated) == (min(limit, limit + over), over > 0)


async def test_what_is_deleted_or_never_came_is_not_seen_started_from_or_passed_through(graph: GraphStore) -> None:
    tenant = uuid4()
    chain = ["a", "gone", "b", "unseen", "c"]
    await project(graph, [agent(tenant, id_) for id_ in chain if id_ != "unseen"])
    await project(graph, [relation(tenant, one, "DELEGATES_TO", two) for one, two in pairwise(chain)])
    await project(graph, [agent(tenant, "gone", 2, deleted=True)])
    answers = await traversal.traverse(graph, tenant, chain, [], 0, 6, 0)
    assert [_found(answer) for answer in answers] == [([], False)] * len(chain)
    for id_ in chain:
        assert await traversal.neighbors(graph, tenant, id_, [], 0, 0) == ([], False)


async def test_tenants_with_the_same_ids_see_their_own_only(graph: GraphStore) -> None:
    one, two, stranger = uuid4(), uuid4(), uuid4()
    for tenant, target in ((one, "b"), (two, "c")):
        agents = [agent(tenant, id_, name=f"{id_} of {tenant}", topics=("go",)) for id_ in ("a", target)]
        await project(graph, [*agents, relation(tenant, "a", "COLLABORATES_WITH", target)])
    seen = {}
    for tenant in (one, two, stranger):
        answers = await traversal.traverse(graph, tenant, ["a", "b", "c", "go"], [], 0, 6, 0)
        seen[tenant] = [reached.node.name for answer in answers for reached in answer.nodes]
        found, _ = await traversal.neighbors(graph, tenant, "a", [], 0, 0)
        seen[tenant] += [neighbor.node.name for neighbor in found]
    assert seen[stranger] == []
    for tenant in (one, two):
        assert seen[tenant]
        assert all(name == "go" or name.endswith(str(tenant)) for name in seen[tenant])


async def test_an_edge_between_tenants_would_lead_nowhere(database: neo4j.Database, graph: GraphStore) -> None:
    """Nothing makes one; if something did, no pattern would follow it."""
    one, two = uuid4(), uuid4()
    await project(graph, [agent(one, "a"), agent(two, "b")])
    async with database.transaction() as statements:
        await statements.run("cross", CROSS, {"one": str(one), "two": str(two)})
    for tenant in (one, two):
        answers = await traversal.traverse(graph, tenant, ["a", "b"], [], 0, 2, 0)
        assert [_found(answer) for answer in answers] == [([], False), ([], False)]
        for id_ in ("a", "b"):
            assert await traversal.neighbors(graph, tenant, id_, [], 0, 0) == ([], False)


async def test_the_same_start_twice_is_answered_twice(graph: GraphStore) -> None:
    tenant = uuid4()
    await project(graph, [agent(tenant, "a"), agent(tenant, "b"), relation(tenant, "a", "SUPERVISES", "b")])
    answers = await traversal.traverse(graph, tenant, ["a", "b", "a"], [], 0, 0, 0)
    assert [_found(answer) for answer in answers] == [([(1, "b")], False), ([(1, "a")], False), ([(1, "b")], False)]


BAD_TRAVERSALS = {
    "no start": (([], [], 0, 0, 0), {"start_ids": "must be 1 to 100"}),
    "too many starts": ((["a"] * 101, [], 0, 0, 0), {"start_ids": "must be 1 to 100"}),
    "an empty start": ((["a", ""], [], 0, 0, 0), {"start_ids": "each must have 1 to 1,000 characters"}),
    "a long start": ((["a" * 1_001], [], 0, 0, 0), {"start_ids": "each must have 1 to 1,000 characters"}),
    "an unspecified type": ((["a"], [0], 0, 0, 0), {"types": "each must be an edge type"}),
    "an unknown type": ((["a"], [1, 7], 0, 0, 0), {"types": "each must be an edge type"}),
    "an unknown direction": ((["a"], [], 4, 0, 0), {"direction": "must be a direction"}),
    "too deep": ((["a"], [], 0, 7, 0), {"max_depth": "must be 1 to 6"}),
    "a negative depth": ((["a"], [], 0, -1, 0), {"max_depth": "must be 1 to 6"}),
    "too many nodes": ((["a"], [], 0, 0, 1_001), {"limit_per_start": "must be 1 to 1,000"}),
    "all at once": (
        ([], [9], -1, 7, -1),
        {
            "start_ids": "must be 1 to 100",
            "types": "each must be an edge type",
            "direction": "must be a direction",
            "max_depth": "must be 1 to 6",
            "limit_per_start": "must be 1 to 1,000",
        },
    ),
}


@pytest.mark.parametrize("case", BAD_TRAVERSALS)
async def test_bad_traversals(graph: GraphStore, case: str) -> None:
    arguments, violations = BAD_TRAVERSALS[case]
    with pytest.raises(InvalidFields) as refused:
        await traversal.traverse(graph, uuid4(), *arguments)
    assert refused.value.violations == violations


BAD_NEIGHBORS = {
    "no node": (("", [], 0, 0), {"node_id": "must have 1 to 1,000 characters"}),
    "an unknown type": (("a", [-1], 0, 0), {"types": "each must be an edge type"}),
    "an unknown direction": (("a", [], -1, 0), {"direction": "must be a direction"}),
    "too many": (("a", [], 0, 1_001), {"limit": "must be 1 to 1,000"}),
    "a negative limit": (("a", [], 0, -1), {"limit": "must be 1 to 1,000"}),
}


@pytest.mark.parametrize("case", BAD_NEIGHBORS)
async def test_bad_neighbors(graph: GraphStore, case: str) -> None:
    arguments, violations = BAD_NEIGHBORS[case]
    with pytest.raises(InvalidFields) as refused:
        await traversal.neighbors(graph, uuid4(), *arguments)
    assert refused.value.violations == violations


HOSTILE = ["a' OR true //", "`) MATCH (n) DETACH DELETE n //", "\\u0027", "\0", "💥" * 900, "{id: 1}", "$start_ids"]


async def test_hostile_ids_are_only_ids(graph: GraphStore) -> None:
    tenant = uuid4()
    await project(graph, [agent(tenant, id_, name=id_, owner_id=f"owner of {id_}") for id_ in HOSTILE])
    answers = await traversal.traverse(graph, tenant, HOSTILE, [], 0, 1, 0)
    assert [[reached.node.id for reached in answer.nodes] for answer in answers] == [
        [f"owner of {id_}"] for id_ in HOSTILE
    ]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the driver, cancelled while it connects
async def test_a_deadline_ends_a_traversal_and_the_pool_still_works(graph: GraphStore) -> None:
    tenant = uuid4()
    await project(graph, [agent(tenant, "a"), agent(tenant, "b"), relation(tenant, "a", "SUPERVISES", "b")])
    for seconds in (0.0, 0.0001, 0.001, 0.002) * 20:
        set_budget(seconds)
        try:
            await traversal.traverse(graph, tenant, ["a"], [], 0, 6, 0)
        except DeadlineExceeded:
            pass
        else:
            assert seconds > 0.0
        finally:
            set_budget(None)
    [answer] = await traversal.traverse(graph, tenant, ["a"], [], 0, 6, 0)
    assert _found(answer) == ([(1, "b")], False)


def _states(chance: random.Random, tenant: UUID, agents: int) -> list[State]:
    """A random graph with a few hubs, some deleted agents, some that never came and some relations that ended."""
    ids = [f"agent-{number:02}" for number in range(agents)]
    states: list[State] = [_random_agent(chance, tenant, id_) for id_ in ids if chance.random() < 0.95]
    ends = [*ids, *ids[:2] * agents]
    for _ in range(3 * agents):
        source, target = chance.choice(ends), chance.choice(ids)
        if source != target:
            states.append(relation(tenant, source, chance.choice(RELATIONS), target, ended=chance.random() < 0.1))
    return states


def _random_agent(chance: random.Random, tenant: UUID, id_: str) -> AgentState:
    return agent(
        tenant,
        id_,
        name=f"Agent {chance.randint(0, 9)}",
        owner_id=chance.choice(["u1", "u2", ""]),
        topics=tuple(chance.sample(["Go", "SQL", "Rust"], chance.randint(0, 2))),
        collection_ids=tuple(chance.sample(["c1", "c2"], chance.randint(0, 1))),
        deleted=chance.random() < 0.1,
    )


def _edges_of(
    start: str, edges: Iterable[Edge], types: list[int], direction: int
) -> set[tuple[EdgeType, Direction, str]]:
    """The edges that may be followed from a node."""
    found = set()
    for source, name, target in edges:
        type_ = EdgeType[name]
        if types and type_ not in types:
            continue
        free = type_ is MUTUAL or direction in (0, Direction.BOTH)
        if source == start and (free or direction == Direction.OUT):
            found.add((type_, Direction.OUT, target))
        if target == start and (free or direction == Direction.IN):
            found.add((type_, Direction.IN, source))
    return found


def _steps(edges: Iterable[Edge], types: list[int], direction: int) -> Mapping[str, set[str]]:
    known = list(edges)
    steps: dict[str, set[str]] = defaultdict(set)
    for node in {end for source, _, target in known for end in (source, target)}:
        steps[node] = {there for _, _, there in _edges_of(node, known, types, direction)}
    return steps


def _search(start: str, steps: Mapping[str, set[str]], names: Mapping[str, str], depth: int, limit: int) -> Found:
    """Breadth first: nearest first, then by name and id."""
    reached, level, order = {start}, {start}, []
    for distance in range(1, depth + 1):
        level = {there for here in level for there in steps.get(here, ())} - reached
        reached |= level
        order += [(distance, names[id_], id_) for id_ in level]
    order.sort()
    return [(distance, id_) for distance, _, id_ in order[:limit]], len(order) > limit


def _found(answer: Traversal) -> Found:
    return [(reached.distance, reached.node.id) for reached in answer.nodes], answer.truncated
