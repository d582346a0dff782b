"""Every reason that a service can fail with, over a real connection, as a client is told of it."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
from graphql import GraphQLError
from structlog.testing import capture_logs

from gateway.errors import CODES, INTERNAL, MASKED, RemoteError, describe, error_of
from gateway.remote import Services, open_channels, services_on
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceServicer, add_AuthServiceServicer_to_server
from neurectomy.errors.v1 import errors_pb2
from services.runtime import errors
from services.runtime.channels import no_token
from services.runtime.export import SpanExport
from services.runtime.scopes import ScopedServer
from services.runtime.server import scopes_for
from services.runtime.settings import ServiceSettings
from services.runtime.verifier import Verifier

SECRET = "the password is swordfish"
FAILURES: list[errors.DomainError] = [
    errors.TokenMissing(),
    errors.TokenInvalid(),
    errors.TokenExpired(),
    errors.TokenRevoked(),
    errors.CredentialsInvalid(),
    errors.SecondFactorRequired(),
    errors.SecondFactorInvalid(),
    errors.PermissionMissing("agents:read"),
    errors.AnonymousAccessDisabled(),
    *(
        kind("x")
        for kind in (
            errors.UserNotFound,
            errors.OrganizationNotFound,
            errors.SessionNotFound,
            errors.ApiKeyNotFound,
            errors.InvitationNotFound,
            errors.RoleNotFound,
            errors.SigningKeyNotFound,
            errors.AgentNotFound,
            errors.VersionNotFound,
            errors.ExecutionNotFound,
            errors.CollectionNotFound,
            errors.OperationNotFound,
            errors.TraceNotFound,
        )
    ),
    errors.EmailTaken(),
    errors.RoleNameTaken("reviewer"),
    errors.AlreadyMember(),
    errors.CollectionNameTaken("docs"),
    errors.InvalidFields(system_prompt="is too long", name="must not be empty"),
    errors.CodeInvalid(),
    errors.DimensionMismatch(3, 4),
    errors.PageTokenInvalid(),
    errors.StaleEtag("7-abc"),
    errors.RequestIdReused(),
    errors.ExecutionFinished(),
    errors.RoleInUse(),
    errors.LastOwner(),
    errors.SecondFactorEnrolled(),
    errors.SecondFactorMissing(),
    errors.LastSigningKey(),
    errors.TooLarge("too large"),
    errors.TooManyAttempts(4),
    errors.Overloaded(),
    errors.StoreUnavailable("postgres"),
    errors.ServiceUnavailable("auth"),
    errors.DeadlineExceeded(),
]


class Failing(AuthServiceServicer):
    """Fails as it is told to, in the one RPC that needs nothing."""

    error: BaseException

    async def GetKeySet(self, request: Any, context: Any) -> auth_pb2.GetKeySetResponse:  # noqa: N802 - the RPC's name
        raise self.error


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def failing() -> AsyncIterator[tuple[Failing, Services]]:
    """A service inside the same scopes as every other, and the gateway's own way to it."""
    servicer, server = Failing(), grpc.aio.server()  # type: ignore[abstract]  # what it lacks answers UNIMPLEMENTED
    settings = cast(ServiceSettings, SimpleNamespace(tracing="on", carries_baggage=True))
    scopes = scopes_for("auth", settings, cast(Verifier, None), SpanExport("auth"))
    add_AuthServiceServicer_to_server(servicer, cast(Any, ScopedServer(server, scopes)))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    services = ("auth", "agent_store", "vector_search", "graph", "traces")
    async with open_channels(dict.fromkeys(services, f"127.0.0.1:{port}"), None) as channels:
        yield servicer, services_on(channels, no_token)
    await server.stop(None)


async def failure(failing: tuple[Failing, Services], error: BaseException) -> RemoteError:
    """What the gateway meets when the service fails with the error."""
    servicer, services = failing
    servicer.error = error
    with pytest.raises(RemoteError) as caught:
        await services.auth.GetKeySet(auth_pb2.GetKeySetRequest())
    return caught.value


def test_every_reason_has_a_code_and_every_code_a_reason() -> None:
    reasons = {name.removeprefix("REASON_") for name, number in errors_pb2.Reason.items() if number}
    assert set(CODES) == reasons
    assert {error.reason for error in FAILURES} | {"INTERNAL"} == reasons


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: error.reason)
async def test_a_reason_arrives_with_its_words(failing: tuple[Failing, Services], error: errors.DomainError) -> None:
    message, extensions = describe(await failure(failing, error))
    assert message == str(error)
    assert extensions["code"] == CODES[error.reason]
    assert (extensions["reason"], extensions["service"]) == (error.reason, "auth")
    assert extensions.get("metadata", {}) == error.metadata


async def test_fields_are_named_as_in_graphql(failing: tuple[Failing, Services]) -> None:
    error = errors.InvalidFields(system_prompt="is too long")
    _, extensions = describe(await failure(failing, error))
    assert extensions["violations"] == [{"field": "systemPrompt", "message": "is too long"}]


@pytest.mark.parametrize("error", [Exception(SECRET), errors.Internal(SECRET), KeyError(SECRET)])
async def test_a_fault_of_a_service_is_masked_and_logged(failing: tuple[Failing, Services], error: Exception) -> None:
    with capture_logs() as logs:
        told = error_of(await failure(failing, error))
    assert (told["message"], told["extensions"]["code"]) == (MASKED, INTERNAL)
    assert SECRET not in str(told)
    assert any(entry["event"] == "a service failed" and entry["service"] == "auth" for entry in logs)


@pytest.mark.parametrize("error", [ValueError(SECRET), GraphQLError(SECRET, original_error=KeyError(SECRET))])
def test_a_fault_of_the_gateway_is_masked_and_logged(error: Exception) -> None:
    with capture_logs() as logs:
        told = error_of(error)
    assert (told["message"], told["extensions"]["code"]) == (MASKED, INTERNAL)
    assert SECRET not in str(told)
    assert [entry["event"] for entry in logs] == ["unexpected error"]


async def test_a_service_that_is_not_there_is_named() -> None:
    services = ("auth", "agent_store", "vector_search", "graph", "traces")
    async with open_channels(dict.fromkeys(services, "127.0.0.1:1"), None) as channels:
        with pytest.raises(RemoteError) as caught:
            await services_on(channels, no_token).auth.GetKeySet(auth_pb2.GetKeySetRequest())
    message, extensions = describe(caught.value)
    assert message == "auth does not answer"
    assert extensions == {"code": "SERVICE_UNAVAILABLE", "reason": "SERVICE_UNAVAILABLE", "service": "auth"}


async def test_a_rpc_that_is_not_there_is_a_fault_of_ours(failing: tuple[Failing, Services]) -> None:
    with pytest.raises(RemoteError) as caught:
        await failing[1].auth.LogIn(auth_pb2.LogInRequest(email=SECRET))
    assert describe(caught.value)[1]["code"] == INTERNAL
