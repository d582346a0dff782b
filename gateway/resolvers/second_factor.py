"""The calling user's second factor: what the auth service answers."""

from collections.abc import Mapping

from ariadne import MutationType, ObjectType, QueryType

from gateway.context import Info
from gateway.resolvers.messages import null_when_unset
from neurectomy.auth.v1 import second_factor_pb2 as pb

query, mutation, second_factor = QueryType(), MutationType(), ObjectType("SecondFactor")
bindables = [query, mutation, second_factor]

null_when_unset(second_factor, "enable_time")

Input = Mapping[str, str]


@query.field("secondFactor")
async def get_second_factor(_: None, info: Info) -> pb.GetSecondFactorResponse:
    return await info.context.services.second_factor.GetSecondFactor(pb.GetSecondFactorRequest())


@mutation.field("beginTotp")
async def begin_totp(_: None, info: Info, input: Input) -> pb.BeginTotpResponse:
    return await info.context.services.second_factor.BeginTotp(pb.BeginTotpRequest(**input))


@mutation.field("confirmTotp")
async def confirm_totp(_: None, info: Info, input: Input) -> pb.ConfirmTotpResponse:
    return await info.context.services.second_factor.ConfirmTotp(pb.ConfirmTotpRequest(**input))


@mutation.field("regenerateRecoveryCodes")
async def regenerate_recovery_codes(_: None, info: Info, input: Input) -> pb.RegenerateRecoveryCodesResponse:
    request = pb.RegenerateRecoveryCodesRequest(**input)
    return await info.context.services.second_factor.RegenerateRecoveryCodes(request)


@mutation.field("disableTotp")
async def disable_totp(_: None, info: Info, input: Input) -> pb.GetSecondFactorResponse:
    await info.context.services.second_factor.DisableTotp(pb.DisableTotpRequest(**input))
    return pb.GetSecondFactorResponse()
