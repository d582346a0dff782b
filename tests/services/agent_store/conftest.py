"""The agent store as two tenants see it."""

from collections.abc import Awaitable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from neurectomy.agent_store.v1 import agent_store_pb2 as pb
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.events.v1 import events_pb2
from services.runtime.errors import DETAILS_KEY
from tests.conftest import Connect, Tenant, reason, service_token

if TYPE_CHECKING:
    from deploy.local.stack import Stack

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest_asyncio.fixture(loop_scope="session")
async def mine(connect_as: Connect, tenant: Tenant) -> Any:
    """A stub that calls as the tenant."""
    return connect_as(AgentStoreServiceStub, tenant)


@pytest_asyncio.fixture(loop_scope="session")
async def theirs(connect_as: Connect, other_tenant: Tenant) -> Any:
    """A stub that calls as the other tenant."""
    return connect_as(AgentStoreServiceStub, other_tenant)


@pytest_asyncio.fixture(loop_scope="session")
async def watcher(connect_as: Connect, stack: "Stack") -> Any:
    """A stub that may watch events: that of the graph service."""
    return connect_as(AgentStoreServiceStub, await service_token(stack, "graph"))


async def create(stub: Any, **fields: Any) -> pb.Agent:
    """A new agent."""
    request = pb.CreateAgentRequest(agent=pb.Agent(**{"name": "An agent", **fields}))
    agent: pb.Agent = (await stub.CreateAgent(request)).agent
    return agent


async def refusal(call: Awaitable[Any]) -> str:
    """The reason that the call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)


async def violations(call: Awaitable[Any]) -> dict[str, str]:
    """What the call, which must fail with INVALID_FIELDS, says of each field."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert reason(caught.value) == "INVALID_FIELDS"
    trailers: dict[str, Any] = dict(caught.value.trailing_metadata() or ())
    request = error_details_pb2.BadRequest()
    status_pb2.Status.FromString(trailers[DETAILS_KEY]).details[1].Unpack(request)
    return {violation.field: violation.description for violation in request.field_violations}


async def events_of(watcher: Any, stub: Any, tenant: Tenant) -> list[events_pb2.Event]:
    """The tenant's events so far: those before that of an agent which is made now, by its stub."""
    last = (await create(stub)).id
    found: list[events_pb2.Event] = []
    async with aclosing(watcher.WatchEvents(pb.WatchEventsRequest())) as responses:
        async for response in responses:
            found += [event for event in response.events if event.organization_id == str(tenant.organization_id)]
            if found and found[-1].entity_id == last:
                return found[:-1]
    raise AssertionError("the feed ended")
