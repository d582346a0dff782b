"""Passwords that are changed or reset."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ariadne import MutationType

from gateway.context import Info
from neurectomy.auth.v1 import passwords_pb2 as pb

mutation = MutationType()
bindables = [mutation]

Input = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """What a mutation without an object of its own answers."""

    changed: bool = True
    accepted: bool = True


DONE = Done()


@mutation.field("changePassword")
async def change_password(_: None, info: Info, input: Input) -> Done:
    await info.context.services.passwords.ChangePassword(pb.ChangePasswordRequest(**input))
    return DONE


@mutation.field("requestPasswordReset")
async def request_password_reset(_: None, info: Info, input: Input) -> Done:
    await info.context.services.passwords.RequestPasswordReset(pb.RequestPasswordResetRequest(**input))
    return DONE


@mutation.field("resetPassword")
async def reset_password(_: None, info: Info, input: Input) -> Done:
    await info.context.services.passwords.ResetPassword(pb.ResetPasswordRequest(**input))
    return DONE
