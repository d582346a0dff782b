"""What the graph is made of. The numbers are those of neurectomy.graph.v1, the names those in Neo4j."""

from dataclasses import dataclass
from enum import IntEnum


class NodeType(IntEnum):
    """What a node is; its label is the name, capitalized."""

    AGENT = 1
    USER = 2
    TOPIC = 3
    COLLECTION = 4


class EdgeType(IntEnum):
    """What an edge says."""

    COLLABORATES_WITH = 1
    DELEGATES_TO = 2
    SUPERVISES = 3
    OWNS = 4
    KNOWS = 5
    EXPERT_IN = 6


class Direction(IntEnum):
    """Which way edges are followed, seen from where one stands."""

    OUT = 1
    IN = 2
    BOTH = 3


MUTUAL = EdgeType.COLLABORATES_WITH
"""Followed in both directions, whatever is asked."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node; users and collections have no name here."""

    id: str
    type: NodeType
    name: str


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A node one step away, and the edge to it: OUT or IN."""

    node: Node
    type: EdgeType
    direction: Direction


@dataclass(frozen=True, slots=True)
class Reached:
    """A node some steps away, by the shortest way."""

    node: Node
    distance: int


@dataclass(frozen=True, slots=True)
class Traversal:
    """What was found from one start."""

    start_id: str
    nodes: list[Reached]
    truncated: bool
