"""The services behind the gateway: stubs whose failures say which service failed."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc

from gateway.errors import RemoteError
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.auth.v1.audit_pb2_grpc import AuditServiceStub
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.explanations_pb2_grpc import ExplanationsServiceStub
from neurectomy.auth.v1.invitations_pb2_grpc import InvitationsServiceStub
from neurectomy.auth.v1.members_pb2_grpc import MembersServiceStub
from neurectomy.auth.v1.organizations_pb2_grpc import OrganizationsServiceStub
from neurectomy.auth.v1.passwords_pb2_grpc import PasswordsServiceStub
from neurectomy.auth.v1.roles_pb2_grpc import RolesServiceStub
from neurectomy.auth.v1.second_factor_pb2_grpc import SecondFactorServiceStub
from neurectomy.auth.v1.sessions_pb2_grpc import SessionsServiceStub
from neurectomy.graph.v1.graph_pb2_grpc import GraphServiceStub
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceStub
from services.runtime.channels import Beside, Token, opened, traced
from services.runtime.tls import Tls

if TYPE_CHECKING:
    from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceAsyncStub
    from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceAsyncStub
    from neurectomy.auth.v1.audit_pb2_grpc import AuditServiceAsyncStub
    from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub
    from neurectomy.auth.v1.explanations_pb2_grpc import ExplanationsServiceAsyncStub
    from neurectomy.auth.v1.invitations_pb2_grpc import InvitationsServiceAsyncStub
    from neurectomy.auth.v1.members_pb2_grpc import MembersServiceAsyncStub
    from neurectomy.auth.v1.organizations_pb2_grpc import OrganizationsServiceAsyncStub
    from neurectomy.auth.v1.passwords_pb2_grpc import PasswordsServiceAsyncStub
    from neurectomy.auth.v1.roles_pb2_grpc import RolesServiceAsyncStub
    from neurectomy.auth.v1.second_factor_pb2_grpc import SecondFactorServiceAsyncStub
    from neurectomy.auth.v1.sessions_pb2_grpc import SessionsServiceAsyncStub
    from neurectomy.graph.v1.graph_pb2_grpc import GraphServiceAsyncStub
    from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceAsyncStub
    from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceAsyncStub

Channels = Mapping[str, grpc.aio.Channel]
"""Service name -> a plain channel to it."""


@dataclass(frozen=True, slots=True)
class Services:
    """Stubs that carry the caller's token: one for each of the others, and several for auth."""

    auth: "AuthServiceAsyncStub"
    api_keys: "ApiKeysServiceAsyncStub"
    organizations: "OrganizationsServiceAsyncStub"
    members: "MembersServiceAsyncStub"
    roles: "RolesServiceAsyncStub"
    invitations: "InvitationsServiceAsyncStub"
    explanations: "ExplanationsServiceAsyncStub"
    sessions: "SessionsServiceAsyncStub"
    passwords: "PasswordsServiceAsyncStub"
    second_factor: "SecondFactorServiceAsyncStub"
    audit: "AuditServiceAsyncStub"
    agent_store: "AgentStoreServiceAsyncStub"
    vector_search: "VectorSearchServiceAsyncStub"
    graph: "GraphServiceAsyncStub"
    traces: "TracesServiceAsyncStub"


@asynccontextmanager
async def open_channels(targets: Mapping[str, str], tls: Tls | None) -> AsyncIterator[Channels]:
    """A channel to each target, by service name; closed at the end."""
    async with AsyncExitStack() as stack:
        yield {service: await stack.enter_async_context(opened(target, tls)) for service, target in targets.items()}


def services_on(channels: Channels, token: Token, voucher: Beside | None = None) -> Services:
    """Stubs on the channels, whose calls carry the given token; those to auth also carry what the voucher says."""

    def named(service: str, beside: Beside | None = None) -> grpc.aio.Channel:
        return cast(grpc.aio.Channel, _NamedChannel(traced(channels[service], token, beside), service))

    return Services(
        auth=AuthServiceStub(auth := named("auth", voucher)),
        api_keys=ApiKeysServiceStub(auth),
        organizations=OrganizationsServiceStub(auth),
        members=MembersServiceStub(auth),
        roles=RolesServiceStub(auth),
        invitations=InvitationsServiceStub(auth),
        explanations=ExplanationsServiceStub(auth),
        sessions=SessionsServiceStub(auth),
        passwords=PasswordsServiceStub(auth),
        second_factor=SecondFactorServiceStub(auth),
        audit=AuditServiceStub(auth),
        agent_store=AgentStoreServiceStub(named("agent_store")),
        vector_search=VectorSearchServiceStub(named("vector_search")),
        graph=GraphServiceStub(named("graph")),
        traces=TracesServiceStub(named("traces")),
    )


class _NamedChannel:
    """What generated stubs need of a channel. The gateway calls no streaming RPC, so those stay as they are."""

    def __init__(self, channel: grpc.aio.Channel, service: str) -> None:
        self._channel = channel
        self._service = service
        self.stream_unary = channel.stream_unary
        self.unary_stream = channel.unary_stream

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        inner, service = self._channel.unary_unary(method, *args, **options), self._service

        async def call(request: Any) -> Any:
            try:
                return await inner(request)
            except grpc.aio.AioRpcError as error:
                raise RemoteError(service, error) from error

        return call
