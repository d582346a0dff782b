"""What may be asked of the graph, and how it is answered: nearest first, bounded, and saying what was cut."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from services.graph.elements import Direction, EdgeType, Neighbor, Node, NodeType, Reached, Traversal
from services.graph.store import FoundNode, GraphStore, Types
from services.runtime.errors import InvalidFields

MAX_STARTS = 100
MAX_DEPTH = 6
MAX_LIMIT = 1_000
MAX_ID = 1_000
DEFAULT_LIMIT = 100
DEFAULT_DEPTH = 1
TRAVERSAL_SCAN = 500
NEIGHBOR_SCAN = 1_000
"""Past its limit, a level or a neighborhood is cut to the first by name among this many, or among one more than the
limit where that is more."""

ALL_TYPES = frozenset(EdgeType)
DIRECTIONS = {number: Direction(number or Direction.BOTH) for number in (0, *Direction)}
TYPES = {type_.value: type_ for type_ in EdgeType}


async def traverse(
    graph: GraphStore,
    tenant: UUID,
    start_ids: Sequence[str],
    types: Sequence[int],
    direction: int,
    depth: int,
    limit: int,
) -> list[Traversal]:
    """For each start, in the order asked, up to `limit` nodes within `depth` steps. Raises InvalidFields.

    Types and directions are their numbers; zero of a number and none of the types stand for the defaults.
    """
    _refuse(
        start_ids=_no_starts(start_ids),
        types=_no_types(types),
        direction=_no_direction(direction),
        max_depth=_outside(depth, MAX_DEPTH),
        limit_per_start=_outside(limit, MAX_LIMIT),
    )
    limit = limit or DEFAULT_LIMIT
    answers = await graph.traverse(
        tenant,
        list(dict.fromkeys(start_ids)),
        _types(types),
        DIRECTIONS[direction],
        depth or DEFAULT_DEPTH,
        limit=limit,
        scan=max(TRAVERSAL_SCAN, limit + 1),
    )
    found = dict(answers)
    return [_traversal(start_id, found.get(start_id, ()), limit) for start_id in start_ids]


def _traversal(start_id: str, found: Iterable[FoundNode], limit: int) -> Traversal:
    """Nearest first, then by name and id."""
    nodes = sorted((distance, name, id_, label) for distance, id_, label, name in found)
    reached = [Reached(_node(id_, label, name), distance) for distance, name, id_, label in nodes[:limit]]
    return Traversal(start_id, reached, truncated=len(nodes) > limit)


async def neighbors(
    graph: GraphStore, tenant: UUID, node_id: str, types: Sequence[int], direction: int, limit: int
) -> tuple[list[Neighbor], bool]:
    """What is one step away, by edge type, name and id, and whether more is. Raises InvalidFields."""
    _refuse(
        node_id=_no_id(node_id),
        types=_no_types(types),
        direction=_no_direction(direction),
        limit=_outside(limit, MAX_LIMIT),
    )
    limit = limit or DEFAULT_LIMIT
    found = await graph.neighbors(
        tenant,
        node_id,
        _types(types),
        DIRECTIONS[direction],
        limit=limit,
        scan=max(NEIGHBOR_SCAN, limit + 1),
    )
    return [_neighbor(*edge) for edge in found[:limit]], len(found) > limit


def _neighbor(type_: str, outgoing: bool, id_: str, label: str, name: str) -> Neighbor:
    return Neighbor(_node(id_, label, name), EdgeType[type_], Direction.OUT if outgoing else Direction.IN)


def _node(id_: str, label: str, name: str) -> Node:
    return Node(id_, NodeType[label.upper()], name)


def _types(numbers: Sequence[int]) -> Types:
    return frozenset(TYPES[number] for number in numbers) or ALL_TYPES


def _refuse(**problems: str | None) -> None:
    if found := {field: problem for field, problem in problems.items() if problem}:
        raise InvalidFields(**found)


def _no_starts(start_ids: Sequence[str]) -> str | None:
    if not 1 <= len(start_ids) <= MAX_STARTS:
        return f"must be 1 to {MAX_STARTS}"
    return next((f"each {problem}" for start_id in start_ids if (problem := _no_id(start_id))), None)


def _no_id(node_id: str) -> str | None:
    return None if 1 <= len(node_id) <= MAX_ID else f"must have 1 to {MAX_ID:,} characters"


def _no_types(numbers: Sequence[int]) -> str | None:
    return None if all(number in TYPES for number in numbers) else "each must be an edge type"


def _no_direction(number: int) -> str | None:
    return None if number in DIRECTIONS else "must be a direction"


def _outside(number: int, most: int) -> str | None:
    """Zero is for the default."""
    return None if 0 <= number <= most else f"must be 1 to {most:,}"
