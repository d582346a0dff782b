"""API keys: what the auth service answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from ariadne import MutationType, ObjectType, QueryType

from gateway.context import Info
from gateway.resolvers.auth import users
from gateway.resolvers.messages import null_when_unset, read, timestamp
from neurectomy.auth.v1 import api_keys_pb2 as pb
from services.runtime.errors import InvalidFields

query, mutation = QueryType(), MutationType()
api_key, details, rotated = ObjectType("ApiKey"), ObjectType("ApiKeyDetails"), ObjectType("RotatedApiKey")
bindables = [query, mutation, api_key, details, rotated]

read(api_key, {"details": "api_key"})
read(rotated, {"details": "api_key", "old": "old_api_key"})
null_when_unset(details, "expire_time", "use_time", "revoke_time")

Input = Mapping[str, Any]


@query.field("apiKeys")
async def list_api_keys(_: None, info: Info) -> Sequence[pb.ApiKey]:
    return (await info.context.services.api_keys.ListApiKeys(pb.ListApiKeysRequest())).api_keys


@mutation.field("createApiKey")
async def create_api_key(_: None, info: Info, input: Input) -> pb.CreateApiKeyResponse:
    if input.get("scopes") == []:  # a list that came out empty by mistake must not stand for all that its maker may
        raise InvalidFields(scopes="must name one at least, or be left out for all that you may do")
    expires = timestamp(input.get("expire_time"))
    request = pb.CreateApiKeyRequest(name=input["name"], scopes=input.get("scopes"), expire_time=expires)
    return await info.context.services.api_keys.CreateApiKey(request)


@mutation.field("revokeApiKey")
async def revoke_api_key(_: None, info: Info, id: str) -> pb.ApiKey:
    return (await info.context.services.api_keys.RevokeApiKey(pb.RevokeApiKeyRequest(id=id))).api_key


@mutation.field("rotateApiKey")
async def rotate_api_key(_: None, info: Info, input: Input) -> pb.RotateApiKeyResponse:
    return await info.context.services.api_keys.RotateApiKey(pb.RotateApiKeyRequest(**input))


@details.field("user")
def user(source: pb.ApiKey, info: Info) -> Any:
    return info.context.load(users, source.user_id) if source.user_id else None
