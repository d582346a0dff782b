"""Relations over real gRPC and PostgreSQL, and as their events tell of them."""

import asyncio
from typing import Any

import pytest

from neurectomy.agent_store.v1 import agent_store_pb2 as pb
from neurectomy.events.v1 import events_pb2
from services.agent_store.relations import relation
from services.runtime.errors import InvalidFields
from tests.conftest import Tenant
from tests.services.agent_store.conftest import NOBODY, create, events_of, refusal, violations

COLLABORATES, DELEGATES, SUPERVISES = (
    pb.RELATION_TYPE_COLLABORATES_WITH,
    pb.RELATION_TYPE_DELEGATES_TO,
    pb.RELATION_TYPE_SUPERVISES,
)
FIRST, SECOND = "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"


async def relate(stub: Any, source: str, target: str, kind: "pb.RelationType.ValueType") -> pb.Relation:
    wanted = pb.Relation(source_id=source, target_id=target, type=kind)
    stored: pb.Relation = (await stub.CreateRelation(pb.CreateRelationRequest(relation=wanted))).relation
    return stored


async def end(stub: Any, source: str, target: str, kind: "pb.RelationType.ValueType") -> None:
    unwanted = pb.Relation(source_id=source, target_id=target, type=kind)
    assert await stub.DeleteRelation(pb.DeleteRelationRequest(relation=unwanted)) == pb.DeleteRelationResponse()


async def relation_events(watcher: Any, stub: Any, tenant: Tenant) -> list[events_pb2.Event]:
    return [event for event in await events_of(watcher, stub, tenant) if event.HasField("relation")]


@pytest.mark.parametrize("kind", [DELEGATES, SUPERVISES])
async def test_a_directed_relation_keeps_its_direction(mine: Any, kind: "pb.RelationType.ValueType") -> None:
    first, second = (await create(mine)).id, (await create(mine)).id
    for source, target in ((first, second), (second, first)):
        assert await relate(mine, source, target, kind) == pb.Relation(source_id=source, target_id=target, type=kind)


async def test_a_mutual_relation_is_one_in_either_direction(mine: Any, watcher: Any, tenant: Tenant) -> None:
    first, second = sorted([(await create(mine)).id, (await create(mine)).id])
    stored = pb.Relation(source_id=first, target_id=second, type=COLLABORATES)
    assert await relate(mine, second, first, COLLABORATES) == stored
    assert await relate(mine, first, second, COLLABORATES) == stored
    await end(mine, second, first, COLLABORATES)
    events = await relation_events(watcher, mine, tenant)
    assert [(event.entity_id, event.revision, event.relation.deleted) for event in events] == [
        (f"{first}:COLLABORATES_WITH:{second}", 1, False),
        (f"{first}:COLLABORATES_WITH:{second}", 2, True),
    ]


async def test_revisions_rise_through_an_end_and_a_new_beginning(mine: Any, watcher: Any, tenant: Tenant) -> None:
    first, second = (await create(mine)).id, (await create(mine)).id
    for _ in range(2):
        for _again in range(2):
            await relate(mine, first, second, DELEGATES)
        for _again in range(2):
            await end(mine, first, second, DELEGATES)
    events = await relation_events(watcher, mine, tenant)
    assert [(event.revision, event.relation.deleted) for event in events] == [
        (1, False),
        (2, True),
        (3, False),
        (4, True),
    ]
    assert {event.entity_id for event in events} == {f"{first}:DELEGATES_TO:{second}"}
    assert {event.relation.type for event in events} == {"DELEGATES_TO"}


async def test_of_many_equal_relations_one_is_made(mine: Any, watcher: Any, tenant: Tenant) -> None:
    first, second = (await create(mine)).id, (await create(mine)).id
    await asyncio.gather(*(relate(mine, first, second, SUPERVISES) for _ in range(20)))
    assert len(await relation_events(watcher, mine, tenant)) == 1


async def test_both_agents_must_be_there_and_ours(mine: Any, theirs: Any) -> None:
    own, foreign = (await create(mine)).id, (await create(theirs)).id
    for other in (NOBODY, foreign):
        for source, target in ((own, other), (other, own)):
            for kind in (COLLABORATES, DELEGATES):
                assert await refusal(relate(mine, source, target, kind)) == "AGENT_NOT_FOUND"


async def test_ending_what_is_not_there_or_not_ours_changes_nothing(
    mine: Any, theirs: Any, watcher: Any, other_tenant: Tenant
) -> None:
    first, second = (await create(theirs)).id, (await create(theirs)).id
    await relate(theirs, first, second, DELEGATES)
    await end(mine, first, second, DELEGATES)
    await end(theirs, second, first, DELEGATES)
    await end(theirs, first, second, SUPERVISES)
    assert [event.relation.deleted for event in await relation_events(watcher, theirs, other_tenant)] == [False]


BAD: dict[str, tuple[tuple[str, str, int], set[str]]] = {
    "nothing": (("", "", 0), {"source_id", "target_id", "type"}),
    "no source": (("x", SECOND, DELEGATES), {"source_id"}),
    "no target": ((FIRST, "\0", DELEGATES), {"target_id"}),
    "no type": ((FIRST, SECOND, 0), {"type"}),
    "unknown type": ((FIRST, SECOND, 99), {"type"}),
    "itself": ((FIRST, FIRST, COLLABORATES), {"target_id"}),
    "itself, shouted": ((FIRST, FIRST.upper(), 99), {"target_id", "type"}),
}


@pytest.mark.parametrize(("values", "bad"), BAD.values(), ids=BAD)
async def test_bad_relations_are_refused(mine: Any, values: tuple[str, str, Any], bad: set[str]) -> None:
    wanted = pb.Relation(source_id=values[0], target_id=values[1], type=values[2])
    assert set(await violations(mine.CreateRelation(pb.CreateRelationRequest(relation=wanted)))) == bad
    assert set(await violations(mine.DeleteRelation(pb.DeleteRelationRequest(relation=wanted)))) == bad


def test_the_direction_of_a_mutual_relation_is_by_id() -> None:
    assert relation(SECOND, FIRST, "COLLABORATES_WITH") == relation(FIRST, SECOND, "COLLABORATES_WITH")
    assert relation(SECOND, FIRST, "SUPERVISES") != relation(FIRST, SECOND, "SUPERVISES")
    with pytest.raises(InvalidFields):
        relation(FIRST, FIRST, "SUPERVISES")
