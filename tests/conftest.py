"""One real stack for the whole session, and strangers to call it as."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from hypothesis import settings

from deploy.local.stack import NEEDS, Stack, StackOptions
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.runtime import channels
from services.runtime.errors import DETAILS_KEY

settings.register_profile("untimed", deadline=None)  # a machine may stall; timings never fail a test
settings.load_profile("untimed")

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A freshly registered organization and its owner."""

    organization_id: UUID
    user_id: str
    email: str
    password: str
    token: str


Connect = Callable[..., Any]
"""(StubClass, tenant or token or None) -> an asynchronous stub whose calls carry that token."""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def stack(tmp_path_factory: Any) -> AsyncIterator[Stack]:
    """PostgreSQL, Valkey, Neo4j and every process of ours, on free ports; or only TEST_PARTS and what these need."""
    state = Path(os.environ.get("TEST_STATE") or tmp_path_factory.mktemp("state"))
    parts = [part for part in os.environ.get("TEST_PARTS", "").split(",") if part] or tuple(NEEDS)
    async with Stack(StackOptions.for_tests(state, parts)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def connect_as(stack: Stack) -> AsyncIterator[Connect]:
    """Stubs on real channels; see Connect."""
    async with AsyncExitStack() as resources:
        raw: dict[str, grpc.aio.Channel] = {}

        def connect(stub: Callable[[grpc.aio.Channel], Any], caller: Tenant | str | None = None) -> Any:
            token = caller if caller is None or isinstance(caller, str) else caller.token

            async def given() -> str | None:
                return token

            service = stub.__module__.split(".")[1]
            if service not in raw:
                raw[service] = grpc.aio.insecure_channel(stack.targets[service], options=channels.OPTIONS)
                resources.push_async_callback(raw[service].close)
            return stub(channels.traced(raw[service], given))

        yield connect


async def register(connect_as: Connect) -> Tenant:
    """A new organization and its owner."""
    unique = uuid4().hex[-12:]
    email = f"owner-{unique}@example.org"
    request = auth_pb2.RegisterRequest(
        email=email, password=PASSWORD, display_name=f"Owner {unique}", organization_name=f"Organization {unique}"
    )
    answer = await connect_as(AuthServiceStub).Register(request)
    return Tenant(UUID(answer.organization.id), answer.user.id, email, PASSWORD, answer.access_token.token)


@pytest_asyncio.fixture(loop_scope="session")
async def tenant(connect_as: Connect) -> Tenant:
    """A stranger with an organization of their own."""
    return await register(connect_as)


@pytest_asyncio.fixture(loop_scope="session")
async def other_tenant(connect_as: Connect) -> Tenant:
    """Another one, who must not see anything of the first."""
    return await register(connect_as)


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason that a failed call states in its details, for example `AGENT_NOT_FOUND`."""
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(trailers[DETAILS_KEY]).details[0].Unpack(info)
    return str(info.reason)


async def service_token(stack: Stack, service: str) -> str:
    """A token of one of our own services, by its own secret."""
    async with channels.connect(stack.targets["auth"], channels.no_token, stack.tls) as auth:
        token = await channels.ServiceIdentity(auth, service, stack.secrets.services[service]).token()
    assert token is not None
    return token
