"""The RPCs of ApiKeysService: proto in, call, proto out."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from neurectomy.auth.v1 import api_keys_pb2 as pb
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceServicer
from services.auth.api_keys import DEFAULT_OVERLAP, ApiKeys
from services.auth.origin import origin_of
from services.auth.service import messages
from services.runtime.caller import current_principal
from services.runtime.errors import InvalidFields
from services.runtime.postgres import Row
from services.runtime.scopes import Context


class ApiKeysRpcs(ApiKeysServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, api_keys: ApiKeys) -> None:
        self._api_keys = api_keys

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        expires_at, origin = _expiry(request), origin_of(context)
        new = await self._api_keys.create(current_principal(), request.name, request.scopes, expires_at, origin)
        return pb.CreateApiKeyResponse(id=str(new.row["api_key_id"]), key=new.key, api_key=_api_key(new.row))

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        found = await self._api_keys.list(current_principal())
        return pb.ListApiKeysResponse(api_keys=[_api_key(row) for row in found])

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.RevokeApiKeyResponse:
        row = await self._api_keys.revoke(current_principal(), request.id, origin_of(context))
        return pb.RevokeApiKeyResponse(api_key=_api_key(row))

    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, context: Context) -> pb.RotateApiKeyResponse:
        overlap = request.overlap_seconds if request.HasField("overlap_seconds") else DEFAULT_OVERLAP
        new, old = await self._api_keys.rotate(current_principal(), request.id, overlap, origin_of(context))
        return pb.RotateApiKeyResponse(
            id=str(new.row["api_key_id"]), key=new.key, api_key=_api_key(new.row), old_api_key=_api_key(old)
        )


def _expiry(request: pb.CreateApiKeyRequest) -> datetime | None:
    try:
        return request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None
    except (ValueError, OverflowError) as error:  # seconds and nanoseconds may be any number
        raise InvalidFields(expire_time="must be a moment until the year 9999") from error


def _api_key(row: Row) -> pb.ApiKey:
    return pb.ApiKey(
        id=str(row["api_key_id"]),
        name=row["name"],
        prefix=row["prefix"],
        scopes=row["scopes"],
        creator_id=row["creator_id"],
        user_id=str(row["user_id"]),
        create_time=messages.moment(row["created_at"]),
        expire_time=_moment(row["expires_at"]),
        use_time=_moment(row["used_at"]),
        revoke_time=_moment(row["revoked_at"]),
        state=_state(row),
    )


def _moment(at: datetime | None) -> Timestamp | None:
    return messages.moment(at) if at else None


def _state(row: Row) -> "pb.ApiKeyState.ValueType":
    if row["revoked_at"]:
        return pb.API_KEY_STATE_REVOKED
    return pb.API_KEY_STATE_EXPIRED if row["expired"] else pb.API_KEY_STATE_ACTIVE
