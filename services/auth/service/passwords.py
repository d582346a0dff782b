"""The RPCs of PasswordsService: proto in, call, proto out."""

from neurectomy.auth.v1 import passwords_pb2 as pb
from neurectomy.auth.v1.passwords_pb2_grpc import PasswordsServiceServicer
from services.auth.origin import origin_of
from services.auth.password_changes import PasswordChanges
from services.runtime.caller import current_principal
from services.runtime.scopes import Context


class PasswordsRpcs(PasswordsServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, changes: PasswordChanges) -> None:
        self._changes = changes

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Context) -> pb.ChangePasswordResponse:
        current, new = request.current_password, request.new_password
        await self._changes.change(current_principal(), current, new, origin_of(context))
        return pb.ChangePasswordResponse()

    async def RequestPasswordReset(
        self, request: pb.RequestPasswordResetRequest, context: Context
    ) -> pb.RequestPasswordResetResponse:
        await self._changes.request_reset(request.email, origin_of(context))
        return pb.RequestPasswordResetResponse()

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: Context) -> pb.ResetPasswordResponse:
        await self._changes.reset(request.code, request.new_password, origin_of(context))
        return pb.ResetPasswordResponse()
