"""`explainAccess`: auth says who may, and the service that has the resource whether it is in the organization."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from ariadne import ObjectType, QueryType

from gateway.context import Info
from gateway.errors import RemoteError
from gateway.resolvers.agent_store import agents
from gateway.resolvers.auth import users
from gateway.resolvers.messages import null_when_empty, null_when_unset
from gateway.resolvers.vector_search import collections
from neurectomy.auth.v1 import explanations_pb2 as pb

query, explanation = QueryType(), ObjectType("AccessExplanation")
bindables = [query, explanation]

null_when_empty(explanation, "matched_permission")
null_when_unset(explanation, "role")

Fetch = Callable[..., Any]

HOLDERS: Mapping[str, Sequence[Fetch]] = {
    "agents": [agents],
    "executions": [agents],
    "knowledge": [collections],
    "graph": [agents, collections, users],
}
"""Where the resources of an area are looked for; those of the other areas auth has itself. Runs are their agent's."""

NOT_FOUND = "nothing of this id is in this organization, or the caller may not see it"


@query.field("explainAccess")
async def explain_access(
    _: None, info: Info, permission: str, resource: str | None = None, subject: str | None = None
) -> pb.ExplainAccessResponse:
    request = pb.ExplainAccessRequest(permission=permission, subject_id=subject or "", resource_id=resource or "")
    found = await info.context.services.explanations.ExplainAccess(request)
    holders = HOLDERS.get(permission.partition(":")[0])
    if not (found.allowed and resource and holders) or await _is_there(info, holders, resource):
        return found
    role = found.role if found.HasField("role") else None
    return pb.ExplainAccessResponse(cause=pb.ACCESS_CAUSE_RESOURCE_NOT_FOUND, explanation=NOT_FOUND, role=role)


async def _is_there(info: Info, holders: Sequence[Fetch], resource: str) -> bool:
    return any(await asyncio.gather(*(_seen(info, fetch, resource) for fetch in holders)))


async def _seen(info: Info, fetch: Fetch, resource: str) -> bool:
    """Whether the caller sees it there; what the caller may not read is not seen."""
    try:
        return await info.context.load(fetch, resource) is not None
    except RemoteError as error:
        if error.code is grpc.StatusCode.PERMISSION_DENIED:
            return False
        raise
