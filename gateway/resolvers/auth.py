"""Users and log-ins: what the auth service answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from ariadne import MutationType, ObjectType, QueryType

from gateway.context import Info
from gateway.remote import Services
from gateway.resolvers.messages import null_when_empty, read
from neurectomy.agent_store.v1 import agent_store_pb2 as agents_pb
from neurectomy.auth.v1 import auth_pb2 as pb

query, mutation = QueryType(), MutationType()
agent, version, user, log_in = ObjectType("Agent"), ObjectType("Version"), ObjectType("User"), ObjectType("LogIn")
bindables = [query, mutation, agent, version, user, log_in]

null_when_empty(user, "email")
read(
    log_in,
    {
        "accessToken": "access_token.token",
        "expireTime": "access_token.expire_time",
        "refreshToken": "refresh_token.token",
        "refreshTokenExpireTime": "refresh_token.expire_time",
    },
)

Input = Mapping[str, Any]


async def users(services: Services, ids: Sequence[str]) -> Mapping[str, pb.User]:
    """Those of the users whom the caller may know."""
    answer = await services.auth.BatchGetUsers(pb.BatchGetUsersRequest(ids=ids))
    return {found.id: found for found in answer.users}


@query.field("me")
async def me(_: None, info: Info) -> pb.GetCurrentUserResponse:
    return await info.context.services.auth.GetCurrentUser(pb.GetCurrentUserRequest())


@mutation.field("register")
async def register(_: None, info: Info, input: Input) -> pb.RegisterResponse:
    return await info.context.services.auth.Register(pb.RegisterRequest(**input))


@mutation.field("logIn")
async def do_log_in(_: None, info: Info, input: Input) -> pb.LogInResponse:
    return await info.context.services.auth.LogIn(pb.LogInRequest(**input))


@agent.field("owner")
def owner(source: agents_pb.Agent, info: Info) -> Any:
    return info.context.load(users, source.owner_id) if source.owner_id else None


@version.field("creator")
def creator(source: agents_pb.Version, info: Info) -> Any:
    return info.context.load(users, source.creator_id) if source.creator_id else None
