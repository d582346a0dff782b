"""The RPCs of SecondFactorService: proto in, call, proto out."""

from neurectomy.auth.v1 import second_factor_pb2 as pb
from neurectomy.auth.v1.second_factor_pb2_grpc import SecondFactorServiceServicer
from services.auth.enrolment import Enrolments
from services.auth.one_time_codes import read
from services.auth.origin import origin_of
from services.auth.second_factor import Holder
from services.auth.service import messages
from services.runtime.caller import current_principal
from services.runtime.scopes import Context


class SecondFactorRpcs(SecondFactorServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, enrolments: Enrolments) -> None:
        self._enrolments = enrolments

    async def GetSecondFactor(self, request: pb.GetSecondFactorRequest, context: Context) -> pb.GetSecondFactorResponse:
        state = await self._enrolments.state(_holder(context))
        enabled = messages.moment(state.enabled_at) if state.enabled_at else None
        return pb.GetSecondFactorResponse(enable_time=enabled, recovery_codes_left=state.codes_left)

    async def BeginTotp(self, request: pb.BeginTotpRequest, context: Context) -> pb.BeginTotpResponse:
        enrolment = await self._enrolments.begin(_holder(context), request.password)
        return pb.BeginTotpResponse(secret=enrolment.secret, uri=enrolment.uri)

    async def ConfirmTotp(self, request: pb.ConfirmTotpRequest, context: Context) -> pb.ConfirmTotpResponse:
        codes = await self._enrolments.confirm(_holder(context), read(request.code, "code"))
        return pb.ConfirmTotpResponse(recovery_codes=codes)

    async def RegenerateRecoveryCodes(
        self, request: pb.RegenerateRecoveryCodesRequest, context: Context
    ) -> pb.RegenerateRecoveryCodesResponse:
        codes = await self._enrolments.regenerate(_holder(context), read(request.code, "code"))
        return pb.RegenerateRecoveryCodesResponse(recovery_codes=codes)

    async def DisableTotp(self, request: pb.DisableTotpRequest, context: Context) -> pb.DisableTotpResponse:
        await self._enrolments.disable(_holder(context), request.password, read(request.code, "code"))
        return pb.DisableTotpResponse()


def _holder(context: Context) -> Holder:
    return Holder.of(current_principal(), origin_of(context))
