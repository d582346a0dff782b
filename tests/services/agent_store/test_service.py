"""The event feed of the agent store, as a service that follows it sees it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from neurectomy.agent_store.v1 import agent_store_pb2 as pb
from neurectomy.events.v1 import events_pb2
from tests.conftest import Tenant
from tests.services.agent_store.conftest import create, events_of, refusal, violations
from tests.services.agent_store.test_agents import FULL


async def one(responses: AsyncIterator[pb.WatchEventsResponse]) -> pb.WatchEventsResponse:
    return await anext(responses)


async def test_every_change_is_told_in_order(mine: Any, watcher: Any, tenant: Tenant) -> None:
    agent = await create(mine, **FULL)
    changed = pb.UpdateAgentRequest(agent=pb.Agent(id=agent.id, name="New"), update_mask=FieldMask(paths=["name"]))
    await mine.UpdateAgent(changed)
    run = (await mine.StartExecution(pb.StartExecutionRequest(agent_id=agent.id))).execution
    await mine.FinishExecution(pb.FinishExecutionRequest(id=run.id, status=pb.EXECUTION_STATUS_FAILED))
    state = events_pb2.AgentChanged(
        name=agent.name,
        status="ACTIVE",
        owner_id=agent.owner_id,
        topics=agent.topics,
        collection_ids=agent.collection_ids,
    )
    later = events_pb2.AgentChanged.FromString(state.SerializeToString())
    later.name = "New"
    events = await events_of(watcher, mine, tenant)
    assert [(event.entity_id, event.revision, payload(event)) for event in events] == [
        (agent.id, 1, state),
        (agent.id, 2, later),
        (run.id, 1, events_pb2.ExecutionChanged(agent_id=agent.id, version=2, status="RUNNING")),
        (run.id, 2, events_pb2.ExecutionChanged(agent_id=agent.id, version=2, status="FAILED")),
    ]
    assert events[0].create_time.ToDatetime() >= agent.create_time.ToDatetime()


def payload(event: events_pb2.Event) -> Any:
    kind = event.WhichOneof("payload")
    assert kind is not None
    return getattr(event, kind)


async def test_what_changes_nothing_is_not_told(mine: Any, watcher: Any, tenant: Tenant) -> None:
    agent = await create(mine)
    stale = pb.Agent(id=agent.id, name="New", etag="stale")
    await refusal(mine.UpdateAgent(pb.UpdateAgentRequest(agent=stale, update_mask=FieldMask(paths=["name"]))))
    await refusal(mine.CreateAgent(pb.CreateAgentRequest()))
    assert len(await events_of(watcher, mine, tenant)) == 1


async def test_a_watch_goes_on_behind_any_event(mine: Any, watcher: Any, tenant: Tenant) -> None:
    for _ in range(3):
        await create(mine)
    first, second, third = await events_of(watcher, mine, tenant)
    async with aclosing(watcher.WatchEvents(pb.WatchEventsRequest(after=first.position))) as responses:
        assert list((await one(responses)).events)[:2] == [second, third]


async def test_an_event_is_told_at_once(mine: Any, watcher: Any, tenant: Tenant) -> None:
    await create(mine)
    [before] = await events_of(watcher, mine, tenant)
    async with aclosing(watcher.WatchEvents(pb.WatchEventsRequest(after=before.position))) as responses:
        await one(responses)
        told = asyncio.ensure_future(one(responses))
        await asyncio.sleep(0.3)
        assert not told.done()
        began = time.monotonic()
        agent = await create(mine)
        assert [event.entity_id for event in (await told).events] == [agent.id]
        assert time.monotonic() - began < 2


async def test_a_quiet_feed_gives_a_sign_of_life(mine: Any, watcher: Any, tenant: Tenant) -> None:
    await create(mine)
    [before] = await events_of(watcher, mine, tenant)
    async with aclosing(watcher.WatchEvents(pb.WatchEventsRequest(after=before.position))) as responses:
        await one(responses)
        assert not (await asyncio.wait_for(one(responses), timeout=20)).events


@pytest.mark.parametrize("after", ["x", "1", "1.", "1.2.3", "-1.2", "9" * 40 + ".1", "1.1\n", "¹.²"])
async def test_a_malformed_position_is_refused(watcher: Any, after: str) -> None:
    async with aclosing(watcher.WatchEvents(pb.WatchEventsRequest(after=after))) as responses:
        assert set(await violations(one(responses))) == {"after"}


async def test_only_services_may_watch(mine: Any) -> None:
    async with aclosing(mine.WatchEvents(pb.WatchEventsRequest())) as responses:
        assert await refusal(one(responses)) == "PERMISSION_MISSING"
