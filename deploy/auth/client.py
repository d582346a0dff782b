"""The auth service as an operator calls it: on the local stack, or anywhere by address and secret."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from deploy.local.failure import StackError
from deploy.traces.client import Target, chosen, operators_token, told
from neurectomy.auth.v1 import audit_pb2
from neurectomy.auth.v1 import signing_keys_pb2 as pb
from neurectomy.auth.v1.audit_pb2_grpc import AuditServiceStub
from neurectomy.auth.v1.signing_keys_pb2_grpc import SigningKeysServiceStub
from services.runtime import channels

if TYPE_CHECKING:
    from neurectomy.auth.v1.audit_pb2_grpc import AuditServiceAsyncStub
    from neurectomy.auth.v1.signing_keys_pb2_grpc import SigningKeysServiceAsyncStub

NEEDED = ("AUTH_TARGET", "SERVICE_SECRET")


def target_of(state: Path, auth_target: str, secret: str) -> Target:
    """The system that is meant. Raises StackError."""
    return chosen(state, auth_target, "", secret, NEEDED)


@asynccontextmanager
async def _as_operator(target: Target, stub: Callable[[grpc.aio.Channel], Any]) -> AsyncIterator[Any]:
    """A stub whose errors come out as StackError."""
    async with (
        operators_token(target) as token,
        channels.connect(target.auth, token, target.tls) as channel,
    ):
        try:
            yield stub(channel)
        except grpc.aio.AioRpcError as error:
            raise StackError(told("auth", target.auth, error)) from error


async def signing_keys(target: Target) -> list[pb.SigningKey]:
    """All that are kept."""
    stub: SigningKeysServiceAsyncStub
    async with _as_operator(target, SigningKeysServiceStub) as stub:
        return list((await stub.ListSigningKeys(pb.ListSigningKeysRequest())).signing_keys)


async def rotate(target: Target) -> pb.RotateSigningKeysResponse:
    """The key that signs next, made now unless there was one."""
    stub: SigningKeysServiceAsyncStub
    async with _as_operator(target, SigningKeysServiceStub) as stub:
        return await stub.RotateSigningKeys(pb.RotateSigningKeysRequest())


async def revoke(target: Target, key_id: str, replace: bool) -> pb.SigningKey:
    """The key that is good for nothing any more."""
    stub: SigningKeysServiceAsyncStub
    async with _as_operator(target, SigningKeysServiceStub) as stub:
        return (await stub.RevokeSigningKey(pb.RevokeSigningKeyRequest(id=key_id, replace=replace))).signing_key


async def verified_chains(
    target: Target, known: Iterable[audit_pb2.AuditHead]
) -> list[audit_pb2.VerifyAuditLogResponse]:
    """Every chain of the audit log, from its first entry to its end or its first break."""
    stub: AuditServiceAsyncStub
    async with _as_operator(target, AuditServiceStub) as stub:
        return [chain async for chain in stub.VerifyAuditLog(audit_pb2.VerifyAuditLogRequest(known=known))]
