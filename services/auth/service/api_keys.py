"""The RPCs of ApiKeysService: proto in, call, proto out."""

from datetime import UTC

from neurectomy.auth.v1 import api_keys_pb2 as pb
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceServicer
from services.auth.api_keys import ApiKeys
from services.runtime.caller import current_principal
from services.runtime.scopes import Context


class ApiKeysRpcs(ApiKeysServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, api_keys: ApiKeys) -> None:
        self._api_keys = api_keys

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        expires_at = request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None
        scopes = frozenset(request.scopes)
        api_key_id, key = await self._api_keys.create(current_principal(), request.name, scopes, expires_at)
        return pb.CreateApiKeyResponse(id=str(api_key_id), key=key)
