"""GraphService: proto in, rules, proto out."""

from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from neurectomy.graph.v1 import graph_pb2 as pb
from neurectomy.graph.v1.graph_pb2_grpc import GraphServiceServicer
from services.graph import traversal
from services.graph.elements import Neighbor, Node, Traversal
from services.graph.projection import Projection
from services.graph.store import GraphStore
from services.runtime.caller import current_principal

Context = grpc.aio.ServicerContext[Any, Any]


class Graph(GraphServiceServicer):
    """See graph.proto."""

    def __init__(self, store: GraphStore, projection: Projection) -> None:
        self._store = store
        self._projection = projection

    async def ListNeighbors(self, request: pb.ListNeighborsRequest, context: Context) -> pb.ListNeighborsResponse:
        found, truncated = await traversal.neighbors(
            self._store, current_principal().tenant, request.node_id, request.types, request.direction, request.limit
        )
        return pb.ListNeighborsResponse(neighbors=map(_neighbor, found), truncated=truncated)

    async def BatchTraverse(self, request: pb.BatchTraverseRequest, context: Context) -> pb.BatchTraverseResponse:
        found = await traversal.traverse(
            self._store,
            current_principal().tenant,
            request.start_ids,
            request.types,
            request.direction,
            request.max_depth,
            request.limit_per_start,
        )
        return pb.BatchTraverseResponse(traversals=map(_traversal, found))

    async def GetProjectionStatus(
        self, request: pb.GetProjectionStatusRequest, context: Context
    ) -> pb.GetProjectionStatusResponse:
        position, lag = await self._store.progress()
        answer = pb.GetProjectionStatusResponse(position=position, following=self._projection.following)
        if position:
            answer.lag.CopyFrom(_duration(lag))
        return answer


def _neighbor(found: Neighbor) -> pb.Neighbor:
    return pb.Neighbor(
        node=_node(found.node),
        type=pb.EdgeType.ValueType(found.type),
        direction=pb.Direction.ValueType(found.direction),
    )


def _traversal(found: Traversal) -> pb.Traversal:
    nodes = [pb.Reached(node=_node(reached.node), distance=reached.distance) for reached in found.nodes]
    return pb.Traversal(start_id=found.start_id, nodes=nodes, truncated=found.truncated)


def _node(node: Node) -> pb.Node:
    return pb.Node(id=node.id, type=pb.NodeType.ValueType(node.type), name=node.name)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
