"""`node(id:)`: an id is looked for wherever things with ids live."""

import asyncio
from typing import Any

from ariadne import InterfaceType, QueryType

from gateway.context import Info
from gateway.resolvers.agent_store import agents
from gateway.resolvers.auth import users
from gateway.resolvers.vector_search import collections
from neurectomy.agent_store.v1 import agent_store_pb2 as agents_pb
from neurectomy.auth.v1 import auth_pb2
from neurectomy.vector_search.v1 import vector_search_pb2 as vectors_pb

TYPES = {agents_pb.Agent: "Agent", vectors_pb.Collection: "Collection", auth_pb2.User: "User"}

query, node = QueryType(), InterfaceType("Node")
bindables = [query, node]


@node.type_resolver
def type_of(source: Any, *_: Any) -> str:
    return TYPES[type(source)]


@query.field("node")
async def get_node(_: None, info: Info, id: str) -> Any:
    """The first that was found; what failed matters only where nothing was."""
    load = info.context.load
    looked = await asyncio.gather(load(agents, id), load(users, id), load(collections, id), return_exceptions=True)
    found = [each for each in looked if each is not None]
    failed = [each for each in found if isinstance(each, BaseException)]
    if len(failed) < len(found):
        return next(each for each in found if each not in failed)
    if failed:
        raise failed[0]
    return None
