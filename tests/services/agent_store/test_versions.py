"""Versions over real gRPC and PostgreSQL: one for each change, each as the agent was then."""

from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from neurectomy.agent_store.v1 import agent_store_pb2 as pb
from tests.conftest import Tenant
from tests.services.agent_store.conftest import NOBODY, create, refusal, violations
from tests.services.agent_store.test_agents import FULL


async def states(stub: Any, changes: int) -> list[pb.Agent]:
    """An agent as it was answered at its creation and at each of some changes."""
    agents = [await create(stub, **FULL)]
    for number in range(changes):
        changed = pb.Agent(id=agents[0].id, name=f"Name {number}")
        request = pb.UpdateAgentRequest(agent=changed, update_mask=FieldMask(paths=["name"]))
        agents.append((await stub.UpdateAgent(request)).agent)
    return agents


async def test_each_change_leaves_the_agent_as_it_was_then(mine: Any, tenant: Tenant) -> None:
    agents = await states(mine, 3)
    found = (await mine.ListVersions(pb.ListVersionsRequest(agent_id=agents[0].id))).versions
    assert [version.agent for version in found] == agents[::-1]
    assert [version.number for version in found] == [4, 3, 2, 1]
    assert {version.creator_id for version in found} == {tenant.user_id}
    assert [version.create_time for version in found] == [agent.update_time for agent in agents[::-1]]


@pytest.mark.parametrize("page_size", [1, 2, 4, 5])
async def test_a_walk_over_the_pages_meets_every_version_once(mine: Any, page_size: int) -> None:
    agent = (await states(mine, 3))[0]
    met: list[int] = []
    request = pb.ListVersionsRequest(agent_id=agent.id, page_size=page_size)
    while True:
        page = await mine.ListVersions(request)
        met += [version.number for version in page.versions]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert met == [4, 3, 2, 1]


async def test_versions_of_what_is_not_there_or_not_ours_are_not_found(mine: Any, theirs: Any) -> None:
    for agent_id in ("", "x", NOBODY, (await create(theirs)).id):
        assert await refusal(mine.ListVersions(pb.ListVersionsRequest(agent_id=agent_id))) == "AGENT_NOT_FOUND"


async def test_bad_list_arguments_are_refused(mine: Any) -> None:
    first, second = (await states(mine, 1))[0], await create(mine)
    page = await mine.ListVersions(pb.ListVersionsRequest(agent_id=first.id, page_size=1))
    misused = pb.ListVersionsRequest(agent_id=second.id, page_token=page.next_page_token)
    assert await refusal(mine.ListVersions(misused)) == "PAGE_TOKEN_INVALID"
    for page_size in (-1, 1_001):
        request = pb.ListVersionsRequest(agent_id=first.id, page_size=page_size)
        assert set(await violations(mine.ListVersions(request))) == {"page_size"}


async def test_the_latest_version_of_each_that_exists(mine: Any, theirs: Any) -> None:
    first, second = (await states(mine, 2))[-1], (await states(mine, 0))[-1]
    asked = [first.id, second.id, first.id, NOBODY, "x", (await create(theirs)).id]
    answer = await mine.BatchGetLatestVersions(pb.BatchGetLatestVersionsRequest(agent_ids=asked))
    assert {version.agent_id: version.agent for version in answer.versions} == {first.id: first, second.id: second}
    assert sorted(version.number for version in answer.versions) == [1, 3]


async def test_a_batch_holds_a_thousand(mine: Any) -> None:
    ids = [str(uuid4()) for _ in range(1_001)]
    fits = pb.BatchGetLatestVersionsRequest(agent_ids=ids[1:])
    assert not (await mine.BatchGetLatestVersions(fits)).versions
    too_many = pb.BatchGetLatestVersionsRequest(agent_ids=ids)
    assert set(await violations(mine.BatchGetLatestVersions(too_many))) == {"agent_ids"}
