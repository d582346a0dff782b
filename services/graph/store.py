"""Cypher of the graph: values in, rows out.

    (:User)-[:OWNS]->(:Agent)-[:KNOWS]->(:Collection)
                     (:Agent)-[:EXPERT_IN]->(:Topic)
                     (:Agent)-[:COLLABORATES_WITH|DELEGATES_TO|SUPERVISES]->(:Agent)

Every node has `organization_id`, and `id` within it. A node without `name` is not shown: an agent that is deleted, or
that so far only a relation speaks of. A deleted agent keeps its `revision`, and a relation that has ended stays as
:ENDED with its own, so that an event that comes late cannot bring either back. Nothing follows :ENDED.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from services.graph.elements import MUTUAL, Direction, EdgeType
from services.runtime import neo4j

MIGRATIONS = Path(__file__).with_name("migrations")
NODES = "Agent|User|Topic|Collection"
NO_TENANT = UUID(int=0)
COMMON_DEPTHS = (1, 2)
ARROWS = {Direction.OUT: ("-", "->"), Direction.IN: ("<-", "-"), Direction.BOTH: ("-", "-")}

Types = frozenset[EdgeType]


def _steps(types: Types, direction: Direction) -> str:
    """The edges from `here` to `there`: one pattern, or two where mutual ones ignore the direction."""
    mutual = types if direction is Direction.BOTH else types & {MUTUAL}
    ways = ((mutual, Direction.BOTH), (types - mutual, direction))
    steps = [_step(followed, way) for followed, way in ways if followed]
    if len(steps) == 1:
        return steps[0]  # without a subquery it is planned in half the time
    return f"CALL (here) {{ {' UNION ALL '.join(f'{step} RETURN edge, there' for step in steps)} }}"


def _step(types: Types, direction: Direction) -> str:
    """Made of our own words only; those of callers come as parameters."""
    tail, head = ARROWS[direction]
    names = "|".join(type_.name for type_ in sorted(types))
    return f"MATCH (here){tail}[edge:{names}]{head}(there {{organization_id: $organization_id}})"


def _level(number: int, steps: str) -> str:
    """What is one step further and was not reached before, unless there is enough already.

    It looks at no more than $scan nodes, however many edges there are, and keeps the first of them by name. A level is
    so either complete or the last one, and every distance is the least.
    """
    before = number - 1
    return f"""
    CALL (level_0, level_{before}, reached_{before}) {{
        UNWIND level_{before} AS here
        WITH here, reached_{before} AS reached
        WHERE size(reached_{before}) - size(level_0) <= $limit
        {steps}
        WITH there, reached WHERE NOT there IN reached AND there.name IS NOT NULL
        WITH DISTINCT there LIMIT $scan
        WITH there ORDER BY there.name, there.id LIMIT $limit + 1
        RETURN collect(there) AS level_{number}
    }}
    WITH *, reached_{before} + level_{number} AS reached_{number}"""


@cache
def traversal(types: Types, direction: Direction, depth: int) -> str:
    """Breadth first from each start: [[start id, [[distance, id, label, name]]]], past the limit if more is there."""
    numbers = range(1, depth + 1)
    steps = _steps(types, direction)
    levels = "".join(_level(number, steps) for number in numbers)
    found = " + ".join(f"[n IN level_{number} | [{number}, n.id, labels(n)[0], n.name]]" for number in numbers)
    return f"""
    UNWIND $start_ids AS start_id
    MATCH (start:{NODES} {{organization_id: $organization_id, id: start_id}})
    WHERE start.name IS NOT NULL
    WITH start_id, collect(start) AS level_0
    WITH start_id, level_0, level_0 AS reached_0
    {levels}
    RETURN collect([start_id, {found}]) AS found"""


@cache
def neighborhood(types: Types, direction: Direction) -> str:
    """One step from a node, by edge type, name and id: [[type, outgoing, id, label, name]], one past the limit."""
    return f"""
    MATCH (here:{NODES} {{organization_id: $organization_id, id: $node_id}})
    WHERE here.name IS NOT NULL
    {_steps(types, direction)}
    WITH here, edge, there WHERE there <> here AND there.name IS NOT NULL
    WITH DISTINCT type(edge) AS type, startNode(edge) = here AS outgoing, there LIMIT $scan
    WITH type, outgoing, there ORDER BY $ranks[type], there.name, there.id, outgoing DESC LIMIT $limit + 1
    RETURN collect([type, outgoing, there.id, labels(there)[0], there.name]) AS found"""


SELECT_POSITION = """
MATCH (projection:Projection {name: $feed})
RETURN projection.position AS position, projection.lag AS lag
"""

# The first SET takes the lock, so that what is compared behind it is no other projection's work in progress.
ADVANCE = """
MERGE (projection:Projection {name: $feed})
ON CREATE SET projection.position = ''
SET projection.batches = coalesce(projection.batches, 0) + 1
WITH projection WHERE projection.position = $after
SET projection.position = $position, projection.lag = $lag
RETURN projection.position AS position
"""

PUT_AGENTS = """
UNWIND $rows AS new
MERGE (agent:Agent {organization_id: new.organization_id, id: new.id})
WITH new, agent WHERE coalesce(agent.revision, -1) < new.revision
SET agent.revision = new.revision, agent.name = new.name
WITH new, agent
CALL (new, agent) {
    MATCH (other:User)-[edge:OWNS]->(agent) WHERE NOT other.id IN new.owners DELETE edge
}
CALL (new, agent) {
    MATCH (agent)-[edge:KNOWS]->(other:Collection) WHERE NOT other.id IN new.collections DELETE edge
}
CALL (new, agent) {
    MATCH (agent)-[edge:EXPERT_IN]->(other:Topic) WHERE NOT other.id IN new.topics DELETE edge
}
CALL (new, agent) {
    UNWIND new.owners AS id
    MERGE (other:User {organization_id: new.organization_id, id: id}) ON CREATE SET other.name = ''
    MERGE (other)-[:OWNS]->(agent)
}
CALL (new, agent) {
    UNWIND new.collections AS id
    MERGE (other:Collection {organization_id: new.organization_id, id: id}) ON CREATE SET other.name = ''
    MERGE (agent)-[:KNOWS]->(other)
}
CALL (new, agent) {
    UNWIND new.topics AS id
    MERGE (other:Topic {organization_id: new.organization_id, id: id}) ON CREATE SET other.name = id
    MERGE (agent)-[:EXPERT_IN]->(other)
}
"""


def _put_relations(type_: str) -> str:
    return f"""
    UNWIND $rows AS new
    MERGE (source:Agent {{organization_id: new.organization_id, id: new.source_id}})
    MERGE (target:Agent {{organization_id: new.organization_id, id: new.target_id}})
    WITH new, source, target
    OPTIONAL MATCH (source)-[old:COLLABORATES_WITH|DELEGATES_TO|SUPERVISES|ENDED {{id: new.id}}]->(target)
    WITH new, source, target, old WHERE old IS NULL OR old.revision < new.revision
    DELETE old
    CREATE (source)-[:{type_} {{id: new.id, revision: new.revision}}]->(target)"""


PUT_RELATIONS = {type_: _put_relations(type_) for type_ in ("COLLABORATES_WITH", "DELEGATES_TO", "SUPERVISES", "ENDED")}

Row = Mapping[str, Any]
FoundNode = tuple[int, str, str, str]
"""Distance, id, label, name."""
FoundPaths = Sequence[tuple[str, Sequence[FoundNode]]]
"""By the id of the start."""
FoundEdge = tuple[str, bool, str, str, str]
"""Type, whether it points away, and id, label and name of the node there."""


class Overtaken(Exception):
    """Neo4j is not at the position where it was left: another process went on, or it was lost or restored."""


class GraphStore:
    """The statements, run. `feed` is the name that the position is kept under."""

    def __init__(self, database: neo4j.Database, feed: str = "agent_store") -> None:
        self._database = database
        self.feed = feed

    async def migrate(self) -> None:
        """Make the constraints that are not there yet."""
        await neo4j.migrate(self._database, MIGRATIONS)

    async def traverse(
        self, tenant: UUID, start_ids: Sequence[str], types: Types, direction: Direction, depth: int, **caps: int
    ) -> FoundPaths:
        """See `traversal`; starts that are not there are left out. Caps are limit and scan."""
        values = {"organization_id": str(tenant), "start_ids": list(start_ids), **caps}
        found: FoundPaths = await self._found("MATCH paths", traversal(types, direction, depth), values)
        return found

    async def neighbors(
        self, tenant: UUID, node_id: str, types: Types, direction: Direction, **caps: int
    ) -> list[FoundEdge]:
        """See `neighborhood`. Caps are limit and scan."""
        ranks = {type_.name: type_.value for type_ in EdgeType}
        values = {"organization_id": str(tenant), "node_id": node_id, "ranks": ranks, **caps}
        found: list[FoundEdge] = await self._found("MATCH neighbors", neighborhood(types, direction), values)
        return found

    async def _found(self, name: str, cypher: str, values: Row) -> Any:
        """All that was found comes in one record: the driver takes a tenth of a millisecond for each."""
        [record] = await self._database.read(name, cypher, values)
        return record["found"]

    async def warm_up(self) -> None:
        """Have what is asked most often planned: right after its start Neo4j takes seconds for that."""
        for depth in COMMON_DEPTHS:
            await self.traverse(NO_TENANT, [""], frozenset({MUTUAL}), Direction.BOTH, depth, limit=1, scan=1)
        await self.neighbors(NO_TENANT, "", frozenset(EdgeType), Direction.BOTH, limit=1, scan=1)

    async def progress(self) -> tuple[str, float]:
        """The position that was reached, empty for none, and the lag in seconds that it was reached with."""
        rows = await self._database.read("MATCH projection", SELECT_POSITION, {"feed": self.feed})
        return (rows[0]["position"], rows[0]["lag"] or 0.0) if rows else ("", 0.0)

    async def apply(
        self, after: str, position: str, lag: float, agents: Sequence[Row], relations: Mapping[str, Sequence[Row]]
    ) -> None:
        """Move from one position to the next, taking in what lies between, whole or not at all. Raises Overtaken."""
        async with self._database.transaction() as statements:
            values = {"feed": self.feed, "after": after, "position": position, "lag": lag}
            if not await statements.run("MERGE projection", ADVANCE, values):
                raise Overtaken
            if agents:
                await statements.run("MERGE agents", PUT_AGENTS, {"rows": agents})
            for type_, rows in relations.items():
                await statements.run("MERGE relations", PUT_RELATIONS[type_], {"rows": rows})
