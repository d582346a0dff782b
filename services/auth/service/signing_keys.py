"""The RPCs of SigningKeysService: proto in, call, proto out."""

from neurectomy.auth.v1 import signing_keys_pb2 as pb
from neurectomy.auth.v1.signing_keys_pb2_grpc import SigningKeysServiceServicer
from services.auth.audit import Entry
from services.auth.origin import origin_of
from services.auth.service import messages
from services.auth.signing_keys import SigningKeys
from services.runtime.caller import current_principal
from services.runtime.postgres import Row
from services.runtime.scopes import Context


class SigningKeysRpcs(SigningKeysServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, signing_keys: SigningKeys) -> None:
        self._signing_keys = signing_keys

    async def ListSigningKeys(self, request: pb.ListSigningKeysRequest, context: Context) -> pb.ListSigningKeysResponse:
        return pb.ListSigningKeysResponse(signing_keys=map(_signing_key, await self._signing_keys.reload()))

    async def RotateSigningKeys(
        self, request: pb.RotateSigningKeysRequest, context: Context
    ) -> pb.RotateSigningKeysResponse:
        key, created = await self._signing_keys.rotate(_by(context))
        return pb.RotateSigningKeysResponse(signing_key=_signing_key(key), created=created)

    async def RevokeSigningKey(
        self, request: pb.RevokeSigningKeyRequest, context: Context
    ) -> pb.RevokeSigningKeyResponse:
        key = await self._signing_keys.revoke(request.id, request.replace, _by(context))
        return pb.RevokeSigningKeyResponse(signing_key=_signing_key(key))


def _by(context: Context) -> Entry:
    """Who does it, for the audit log."""
    caller = current_principal()
    return Entry("", caller.subject, caller.subject_type, address=origin_of(context).address)


def _signing_key(row: Row) -> pb.SigningKey:
    key = pb.SigningKey(
        id=row["key_id"],
        state=pb.SigningKeyState.Value(f"SIGNING_KEY_STATE_{row['state'].upper()}"),
        create_time=messages.moment(row["created_at"]),
        sign_time=messages.moment(row["signs_at"]),
    )
    for field, at in (("end_time", row["ends_at"]), ("revoke_time", row["revoked_at"])):
        if at is not None:
            getattr(key, field).CopyFrom(messages.moment(at))
    return key
