"""The audit log over real gRPC: who may read it, in which pages, and who may have it verified."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from deploy.local.stack import Stack
from neurectomy.auth.v1 import audit_pb2 as pb
from neurectomy.auth.v1.audit_pb2_grpc import AuditServiceStub
from services.auth.audit import Entry, append
from services.runtime import postgres
from tests.conftest import Connect, Tenant, reason, register, service_token

COUNT = 12


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def audited(stack: Stack, connect_as: Connect) -> Tenant:
    """Whose log has two entries of the registration, and a dozen more of two kinds."""
    tenant = await register(connect_as)
    async with (
        postgres.connect(stack.database_url("auth"), init=postgres.jsonb_as_objects) as database,
        database.tenant(tenant.organization_id) as statements,
    ):
        for number in range(COUNT):
            action = "role.create" if number % 3 == 0 else "role.delete"
            entry = Entry(action, f"actor {number % 2}", "service", str(number), "::1", {"number": str(number)})
            await append(statements, tenant.organization_id, entry)
    return tenant


async def test_the_newest_entries_come_first_and_say_all(connect_as: Connect, audited: Tenant) -> None:
    answer = await connect_as(AuditServiceStub, audited).ListAuditEvents(pb.ListAuditEventsRequest())
    assert [event.sequence for event in answer.events] == list(range(COUNT + 2, 0, -1))
    last, first = answer.events[0], answer.events[-1]
    assert (last.action, last.actor, last.actor_type, last.target) == ("role.delete", "actor 1", "service", "11")
    assert (last.address, dict(last.details)) == ("::1", {"number": "11"})
    assert (first.action, first.actor) == ("organization.create", audited.user_id)
    assert first.time.ToDatetime(UTC) <= last.time.ToDatetime(UTC)


FILTERS = {
    "an action": (pb.AuditFilter(actions=["role.create"]), 4),
    "actions": (pb.AuditFilter(actions=["role.create", "role.delete", "unknown"]), COUNT),
    "an actor": (pb.AuditFilter(actor="actor 1"), 6),
    "both": (pb.AuditFilter(actions=["role.create"], actor="actor 1"), 2),
    "nobody": (pb.AuditFilter(actor="'; --"), 0),
}


@pytest.mark.parametrize(("wanted", "count"), FILTERS.values(), ids=FILTERS)
async def test_filters(connect_as: Connect, audited: Tenant, wanted: pb.AuditFilter, count: int) -> None:
    answer = await connect_as(AuditServiceStub, audited).ListAuditEvents(pb.ListAuditEventsRequest(filter=wanted))
    assert len(answer.events) == count


async def test_a_range_of_time_has_its_begin_and_not_its_end(connect_as: Connect, audited: Tenant) -> None:
    stub = connect_as(AuditServiceStub, audited)
    *_, third, second, first = (await stub.ListAuditEvents(pb.ListAuditEventsRequest())).events
    wanted = pb.AuditFilter(start_time=first.time, end_time=third.time)
    answer = await stub.ListAuditEvents(pb.ListAuditEventsRequest(filter=wanted))
    assert [event.sequence for event in answer.events] == [second.sequence, first.sequence]
    wanted = pb.AuditFilter()
    wanted.start_time.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    assert not (await stub.ListAuditEvents(pb.ListAuditEventsRequest(filter=wanted))).events


async def test_pages_join_without_a_gap_and_a_token_is_good_for_its_list(connect_as: Connect, audited: Tenant) -> None:
    stub = connect_as(AuditServiceStub, audited)
    seen, token = [], ""
    while True:
        page = await stub.ListAuditEvents(pb.ListAuditEventsRequest(page_size=5, page_token=token))
        seen += [event.sequence for event in page.events]
        assert (page.page_tokens[-1] == page.next_page_token) or not page.next_page_token
        if not page.next_page_token:
            break
        token = page.next_page_token
    assert seen == list(range(COUNT + 2, 0, -1))
    other = pb.ListAuditEventsRequest(page_token=token, filter=pb.AuditFilter(actor="actor 1"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListAuditEvents(other)
    assert reason(caught.value) == "PAGE_TOKEN_INVALID"


BAD = {
    "too many": pb.ListAuditEventsRequest(page_size=1_001),
    "less than none": pb.ListAuditEventsRequest(page_size=-1),
    "NUL": pb.ListAuditEventsRequest(filter=pb.AuditFilter(actor="\0")),
    "too many actions": pb.ListAuditEventsRequest(filter=pb.AuditFilter(actions=["x"] * 21)),
    "no moment": pb.ListAuditEventsRequest(filter=pb.AuditFilter(start_time=Timestamp(seconds=2**62))),
}


@pytest.mark.parametrize("request_", BAD.values(), ids=BAD)
async def test_refused(connect_as: Connect, audited: Tenant, request_: pb.ListAuditEventsRequest) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(AuditServiceStub, audited).ListAuditEvents(request_)
    assert reason(caught.value) == "INVALID_FIELDS"


async def _chains(stub: Any, *known: pb.AuditHead) -> dict[str, pb.VerifyAuditLogResponse]:
    stream = stub.VerifyAuditLog(pb.VerifyAuditLogRequest(known=known))
    return {chain.head.organization_id: chain async for chain in stream}


async def test_an_operator_has_all_chains_verified(stack: Stack, connect_as: Connect, audited: Tenant) -> None:
    stub = connect_as(AuditServiceStub, await service_token(stack, "cli"))
    chain = (await _chains(stub))[str(audited.organization_id)]
    assert (chain.head.sequence, chain.HasField("first_break")) == (COUNT + 2, False)
    assert chain.organization_name.startswith("Organization ")
    wrong = pb.AuditHead(organization_id=str(audited.organization_id), sequence=1, hash=bytes(32))
    chain = (await _chains(stub, wrong))[str(audited.organization_id)]
    assert (chain.first_break.kind, chain.first_break.sequence) == (pb.AUDIT_BREAK_KIND_NOT_AS_KNOWN, 1)
    assert chain.first_break.event.action == "organization.create"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _chains(stub, pb.AuditHead(organization_id="x", sequence=1, hash=bytes(32)))
    assert reason(caught.value) == "INVALID_FIELDS"


async def test_an_owner_may_not_have_others_chains_verified(connect_as: Connect, audited: Tenant) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _chains(connect_as(AuditServiceStub, audited))
    assert reason(caught.value) == "PERMISSION_MISSING"
