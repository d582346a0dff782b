"""Who works with whom: what the graph service answers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ariadne import ObjectType

from gateway.context import Info, page_size
from gateway.remote import Services
from gateway.resolvers.agent_store import agents
from gateway.resolvers.messages import read
from neurectomy.agent_store.v1 import agent_store_pb2 as agents_pb
from neurectomy.graph.v1 import graph_pb2 as pb
from services.runtime.errors import InvalidFields

STARTS_AT_ONCE = 100
MAX_DEPTH = 6

agent, related, neighbor = ObjectType("Agent"), ObjectType("RelatedAgent"), ObjectType("Neighbor")
bindables = [agent, related, neighbor]

read(related, {"id": "node.id", "name": "node.name"})
read(neighbor, {"id": "node.id", "name": "node.name", "nodeType": "node.type", "edgeType": "type"})


class Walk(NamedTuple):
    """Which edges are followed from every start, and how far."""

    type: "pb.EdgeType.ValueType"
    direction: "pb.Direction.ValueType"
    depth: int
    limit: int


async def traversals(walk: Walk, services: Services, start_ids: Sequence[str]) -> Mapping[str, pb.Traversal]:
    """What was found from each start."""
    request = pb.BatchTraverseRequest(
        start_ids=start_ids,
        types=[walk.type],
        direction=walk.direction,
        max_depth=walk.depth,
        limit_per_start=walk.limit,
    )
    answer = await services.graph.BatchTraverse(request)
    return {found.start_id: found for found in answer.traversals}


@agent.field("collaborators")
async def collaborators(source: agents_pb.Agent, info: Info, depth: int, first: int) -> Sequence[pb.Reached]:
    if not 1 <= depth <= MAX_DEPTH:
        raise InvalidFields(depth=f"must be 1 to {MAX_DEPTH}")
    walk = Walk(pb.EDGE_TYPE_COLLABORATES_WITH, pb.DIRECTION_BOTH, depth, page_size(first))
    return await _reached(source.id, info, walk)


@agent.field("supervisors")
async def supervisors(source: agents_pb.Agent, info: Info, first: int) -> Sequence[pb.Reached]:
    return await _reached(source.id, info, Walk(pb.EDGE_TYPE_SUPERVISES, pb.DIRECTION_IN, 1, page_size(first)))


async def _reached(start_id: str, info: Info, walk: Walk) -> Sequence[pb.Reached]:
    found: pb.Traversal = await info.context.load(traversals, start_id, walk, limit=STARTS_AT_ONCE)
    _note_truncation(info, found.truncated)
    return found.nodes


@agent.field("neighbors")
async def neighbors(
    source: agents_pb.Agent,
    info: Info,
    direction: "pb.Direction.ValueType",
    first: int,
    types: "Sequence[pb.EdgeType.ValueType] | None" = None,
) -> Sequence[pb.Neighbor]:
    request = pb.ListNeighborsRequest(node_id=source.id, types=types or (), direction=direction, limit=page_size(first))
    found = await info.context.services.graph.ListNeighbors(request)
    _note_truncation(info, found.truncated)
    return found.neighbors


def _note_truncation(info: Info, truncated: bool) -> None:
    if truncated:
        info.context.truncated.append(info.path.as_list())


@related.field("agent")
def related_agent(source: pb.Reached, info: Info) -> Any:
    return info.context.load(agents, source.node.id)
