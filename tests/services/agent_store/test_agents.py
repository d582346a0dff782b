"""Agents over real gRPC and PostgreSQL: made, read, changed, and each way in which that is refused."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from neurectomy.agent_store.v1 import agent_store_pb2 as pb
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.auth.v1 import api_keys_pb2
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from services.agent_store.agents import PATHS, RULES, expand
from services.runtime.errors import DETAILS_KEY
from services.runtime.etags import etag_of, revision_of
from tests.conftest import Connect, Tenant, reason
from tests.services.agent_store.conftest import NOBODY, create, refusal, violations

FREE_FORM = {"depth": 3.0, "nested": {"list": [1.5, "x", None, True, {}]}, "ключ": "значение"}
FULL: dict[str, Any] = {
    "name": "Поиск 🔎",
    "description": "Finds what was asked for",
    "status": pb.AGENT_STATUS_ACTIVE,
    "type": "retriever",
    "model": {"provider": "openai", "name": "gpt-5", "config": {"temperature": 0.25}},
    "system_prompt": "x" * 100_000,
    "capabilities": ["search", "cite"],
    "memory_config": FREE_FORM,
    "retrieval_config": {"k": 8.0},
    "tags": ["a", "b", "a"],
    "owner_id": NOBODY,
    "topics": ["python", "исключения"],
    "collection_ids": [NOBODY],
}


def update(agent: pb.Agent, *paths: str) -> pb.UpdateAgentRequest:
    return pb.UpdateAgentRequest(agent=agent, update_mask=FieldMask(paths=paths))


async def get(stub: Any, agent_id: str) -> pb.Agent:
    agent: pb.Agent = (await stub.GetAgent(pb.GetAgentRequest(id=agent_id))).agent
    return agent


async def test_an_agent_is_read_as_it_was_made(mine: Any) -> None:
    made = await create(mine, **FULL)
    said = pb.Agent(**FULL)
    assert {field: getattr(made, field) for field in FULL} == {field: getattr(said, field) for field in FULL}
    assert UUID(made.id).version == 7
    assert made.latest_version == 1
    assert made.create_time == made.update_time
    assert await get(mine, made.id) == made
    assert list((await mine.BatchGetAgents(pb.BatchGetAgentsRequest(ids=[made.id]))).agents) == [made]
    assert list((await mine.ListAgents(pb.ListAgentsRequest())).agents) == [made]


async def test_a_new_agent_is_a_draft_of_its_creator(mine: Any, tenant: Tenant) -> None:
    made = await create(mine)
    assert (made.status, made.owner_id) == (pb.AGENT_STATUS_DRAFT, tenant.user_id)


async def test_a_creator_that_is_no_user_names_an_owner(connect_as: Connect, tenant: Tenant) -> None:
    key = await connect_as(ApiKeysServiceStub, tenant).CreateApiKey(
        api_keys_pb2.CreateApiKeyRequest(name="script", scopes=["agents:write"])
    )
    script = connect_as(AgentStoreServiceStub, key.key)
    assert set(await violations(create(script))) == {"owner_id"}
    assert (await create(script, owner_id=tenant.user_id)).owner_id == tenant.user_id


BAD_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": ""}, "name"),
    "long name": ({"name": "x" * 201}, "name"),
    "NUL in the name": ({"name": "a\0b"}, "name"),
    "long description": ({"description": "x" * 10_001}, "description"),
    "unknown status": ({"status": 99}, "status"),
    "negative status": ({"status": -1}, "status"),
    "long type": ({"type": "x" * 101}, "type"),
    "long provider": ({"model": {"provider": "x" * 201}}, "model.provider"),
    "NUL in the model's name": ({"model": {"name": "\0"}}, "model.name"),
    "huge model config": ({"model": {"config": {"x": "y" * 100_000}}}, "model.config"),
    "long prompt": ({"system_prompt": "x" * 100_001}, "system_prompt"),
    "huge prompt": ({"system_prompt": "x" * 10_000_000}, "system_prompt"),
    "NUL in the prompt": ({"system_prompt": "\0"}, "system_prompt"),
    "101 capabilities": ({"capabilities": ["x"] * 101}, "capabilities"),
    "empty capability": ({"capabilities": ["a", ""]}, "capabilities"),
    "NUL in a free-form value": ({"memory_config": {"a": ["\0"]}}, "memory_config"),
    "NUL in a free-form key": ({"memory_config": {"a": {"\0": 1}}}, "memory_config"),
    "infinite number": ({"memory_config": {"a": float("inf")}}, "memory_config"),
    "no number": ({"retrieval_config": {"a": [float("nan")]}}, "retrieval_config"),
    "a flood of values": ({"retrieval_config": {"a": [0.0] * 50_000}}, "retrieval_config"),
    "long tag": ({"tags": ["x" * 101]}, "tags"),
    "no UUID as owner": ({"owner_id": "somebody"}, "owner_id"),
    "NUL in a topic": ({"topics": ["\0"]}, "topics"),
    "no UUID as collection": ({"collection_ids": ["x"]}, "collection_ids"),
}


@pytest.mark.parametrize(("fields", "bad"), BAD_FIELDS.values(), ids=BAD_FIELDS)
async def test_bad_fields_are_refused_by_name(mine: Any, fields: dict[str, Any], bad: str) -> None:
    assert set(await violations(create(mine, **fields))) == {bad}
    made = await create(mine)
    changed = pb.Agent(id=made.id, **fields)
    assert set(await violations(mine.UpdateAgent(update(changed, bad)))) == {bad}
    assert await get(mine, made.id) == made


async def test_all_bad_fields_are_named_at_once(mine: Any) -> None:
    request = pb.CreateAgentRequest(agent=pb.Agent(status=99, owner_id="x", tags=[""]), request_id="again")  # type: ignore[arg-type]
    assert set(await violations(mine.CreateAgent(request))) == {"name", "status", "tags", "owner_id", "request_id"}


CHANGES: dict[str, dict[str, Any]] = {
    **{field: {field: value} for field, value in FULL.items() if field != "model"},
    "model": {"model": FULL["model"]},
    "model.provider": {"model": {"provider": "openai"}},
    "model.name": {"model": {"name": "gpt-5"}},
    "model.config": {"model": {"config": {"temperature": 0.25}}},
}


def test_every_field_of_the_mask_is_tried() -> None:
    assert set(CHANGES) == set(PATHS)


@pytest.mark.parametrize(("path", "change"), CHANGES.items(), ids=CHANGES)
async def test_update_changes_what_the_mask_names_and_nothing_else(mine: Any, path: str, change: Any) -> None:
    made = await create(mine)
    noise = {field: value for field, value in FULL.items() if field != path.partition(".")[0]}
    request = update(pb.Agent(**{**noise, **change, "id": made.id, "etag": made.etag}), path)
    changed = (await mine.UpdateAgent(request)).agent
    expected = pb.Agent.FromString(made.SerializeToString())
    for field in change:
        expected.ClearField(field)
    expected.MergeFrom(pb.Agent(**change))
    expected.latest_version, expected.etag = 2, changed.etag
    expected.update_time.CopyFrom(changed.update_time)
    assert changed == expected
    assert changed.etag != made.etag
    assert changed.update_time.ToDatetime() > made.update_time.ToDatetime()
    assert await get(mine, made.id) == changed


async def test_a_masked_field_without_a_value_is_emptied(mine: Any) -> None:
    made = await create(mine, **FULL)
    paths = [path for path in PATHS if path not in ("name", "status", "owner_id")]
    changed = (await mine.UpdateAgent(update(pb.Agent(id=made.id), *paths))).agent
    kept = {"id", "name", "status", "owner_id", "latest_version", "etag", "create_time", "update_time", "model"}
    assert {field.name for field, _ in changed.ListFields()} == kept
    assert changed.model == pb.Model()


BAD_MASKS: dict[str, tuple[list[str], set[str]]] = {
    "none": ([], {"update_mask"}),
    "id": (["id"], {"update_mask"}),
    "etag": (["name", "etag"], {"update_mask"}),
    "latest_version": (["latest_version"], {"update_mask"}),
    "create_time": (["create_time"], {"update_mask"}),
    "everything": (["*"], {"update_mask"}),
    "unknown": (["nmae"], {"update_mask"}),
    "inside free form": (["memory_config.depth"], {"update_mask"}),
    "too deep": (["model.name.x"], {"update_mask"}),
    "half a name": (["mod"], {"update_mask"}),
    "empty": ([""], {"update_mask"}),
    "a hundred thousand": (["x"] * 100_000, {"update_mask"}),
    "status without one": (["status"], {"status"}),
    "owner without one": (["owner_id"], {"owner_id"}),
}


@pytest.mark.parametrize(("paths", "bad"), BAD_MASKS.values(), ids=BAD_MASKS)
async def test_bad_masks_are_refused(mine: Any, paths: list[str], bad: set[str]) -> None:
    made = await create(mine)
    assert set(await violations(mine.UpdateAgent(update(pb.Agent(id=made.id), *paths)))) == bad


async def test_an_update_names_an_agent(mine: Any) -> None:
    assert set(await violations(mine.UpdateAgent(update(pb.Agent(id="x"), "nmae")))) == {"id", "update_mask"}


async def test_what_is_not_there_or_not_ours_is_not_found(mine: Any, theirs: Any) -> None:
    foreign = await create(theirs)
    for agent_id in (NOBODY, foreign.id):
        assert await refusal(get(mine, agent_id)) == "AGENT_NOT_FOUND"
        for etag in ("", foreign.etag):
            changed = pb.Agent(id=agent_id, name="Mine", etag=etag)
            assert await refusal(mine.UpdateAgent(update(changed, "name"))) == "AGENT_NOT_FOUND"
    for agent_id in ("", "x", foreign.id.replace("-", ""), "x" * 1_000_000):
        assert await refusal(get(mine, agent_id)) == "AGENT_NOT_FOUND"
    assert await get(theirs, foreign.id) == foreign


async def test_batch_get_answers_those_that_exist(mine: Any, theirs: Any) -> None:
    ids = [(await create(mine)).id for _ in range(3)]
    foreign = await create(theirs)
    asked = [*ids, ids[0], ids[1].upper(), NOBODY, foreign.id, "", "x", "\0"]
    answer = await mine.BatchGetAgents(pb.BatchGetAgentsRequest(ids=asked))
    assert sorted(agent.id for agent in answer.agents) == sorted(ids)


async def test_a_batch_holds_a_thousand(mine: Any) -> None:
    made = await create(mine)
    ids = [made.id, *(str(uuid4()) for _ in range(999))]
    assert list((await mine.BatchGetAgents(pb.BatchGetAgentsRequest(ids=ids))).agents) == [made]
    assert set(await violations(mine.BatchGetAgents(pb.BatchGetAgentsRequest(ids=[*ids, ""])))) == {"ids"}


@pytest.mark.parametrize("etag", ["nonsense", "1-00000000", "0-00000000", "f" * 15 + "-00000000", "\0", "x" * 100_000])
async def test_another_etag_than_the_current_is_stale(mine: Any, etag: str) -> None:
    made = await create(mine)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mine.UpdateAgent(update(pb.Agent(id=made.id, name="New", etag=etag), "name"))
    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert current_etag(caught.value) == made.etag
    assert await get(mine, made.id) == made


def current_etag(error: grpc.aio.AioRpcError) -> str:
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(trailers[DETAILS_KEY]).details[0].Unpack(info)
    return str(info.metadata["etag"])


async def test_of_many_updates_of_one_state_one_wins(mine: Any) -> None:
    made = await create(mine)
    requests = [update(pb.Agent(id=made.id, name=f"Name {n}", etag=made.etag), "name") for n in range(20)]
    outcomes = await asyncio.gather(*map(mine.UpdateAgent, requests), return_exceptions=True)
    [winner] = [outcome.agent for outcome in outcomes if isinstance(outcome, pb.UpdateAgentResponse)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert [reason(error) for error in errors] == ["STALE_ETAG"] * 19
    assert {current_etag(error) for error in errors} == {winner.etag}
    assert await get(mine, made.id) == winner


async def test_updates_of_any_state_all_happen_one_after_another(mine: Any) -> None:
    made = await create(mine)
    requests = [update(pb.Agent(id=made.id, tags=[str(n)]), "tags") for n in range(20)]
    answers = [answer.agent for answer in await asyncio.gather(*map(mine.UpdateAgent, requests))]
    assert sorted(agent.latest_version for agent in answers) == list(range(2, 22))
    assert len({agent.etag for agent in answers}) == 20
    assert await get(mine, made.id) == max(answers, key=lambda agent: agent.latest_version)


async def test_a_repeated_create_answers_the_same_even_after_a_change(mine: Any) -> None:
    request = pb.CreateAgentRequest(agent=pb.Agent(**FULL), request_id=str(uuid4()))
    first = await mine.CreateAgent(request)
    await mine.UpdateAgent(update(pb.Agent(id=first.agent.id, name="Another"), "name"))
    assert await mine.CreateAgent(request) == first
    assert len((await mine.ListAgents(pb.ListAgentsRequest())).agents) == 1


async def test_a_request_id_stands_for_one_body_of_one_tenant(mine: Any, theirs: Any) -> None:
    request = pb.CreateAgentRequest(agent=pb.Agent(name="One"), request_id=str(uuid4()))
    made = (await mine.CreateAgent(request)).agent
    other_body = pb.CreateAgentRequest(agent=pb.Agent(name="Two"), request_id=request.request_id)
    other_method = pb.StartExecutionRequest(agent_id=made.id, request_id=request.request_id)
    assert await refusal(mine.CreateAgent(other_body)) == "REQUEST_ID_REUSED"
    assert await refusal(mine.StartExecution(other_method)) == "REQUEST_ID_REUSED"
    assert (await theirs.CreateAgent(request)).agent.id != made.id


async def test_of_many_equal_creates_one_makes_the_agent(mine: Any) -> None:
    request = pb.CreateAgentRequest(agent=pb.Agent(name="One"), request_id=str(uuid4()))
    answers = await asyncio.gather(*(mine.CreateAgent(request) for _ in range(20)))
    [made] = (await mine.ListAgents(pb.ListAgentsRequest())).agents
    assert [answer.agent for answer in answers] == [made] * 20


async def test_a_refused_create_does_not_use_up_its_request_id(mine: Any) -> None:
    request_id = str(uuid4())
    bad = pb.CreateAgentRequest(agent=pb.Agent(name=""), request_id=request_id)
    assert set(await violations(mine.CreateAgent(bad))) == {"name"}
    good = pb.CreateAgentRequest(agent=pb.Agent(name="One"), request_id=request_id)
    assert (await mine.CreateAgent(good)).agent.name == "One"


@pytest.mark.parametrize("page_size", [1, 3, 7, 8])
async def test_a_walk_over_the_pages_meets_every_agent_once_newest_first(mine: Any, page_size: int) -> None:
    ids = [(await create(mine, name=f"{n}")).id for n in range(7)]
    met: list[str] = []
    request = pb.ListAgentsRequest(page_size=page_size)
    while True:
        page = await mine.ListAgents(request)
        met += [agent.id for agent in page.agents]
        assert len(page.agents) <= page_size
        await create(mine, name="made during the walk")
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert met == ids[::-1]


async def test_a_page_can_be_left_behind_any_of_its_agents(mine: Any) -> None:
    for n in range(4):
        await create(mine, name=f"{n}")
    page = await mine.ListAgents(pb.ListAgentsRequest(with_page_tokens=True))
    behind = [await mine.ListAgents(pb.ListAgentsRequest(page_token=token)) for token in page.page_tokens]
    assert [[agent.name for agent in rest.agents] for rest in behind] == [["2", "1", "0"], ["1", "0"], ["0"], []]
    assert not (await mine.ListAgents(pb.ListAgentsRequest())).page_tokens


async def test_a_list_can_be_of_one_status(mine: Any) -> None:
    by_status = {status: (await create(mine, status=status)).id for status in pb.AgentStatus.values()[1:]}
    for status, agent_id in by_status.items():
        page = await mine.ListAgents(pb.ListAgentsRequest(status=status))
        assert [agent.id for agent in page.agents] == [agent_id]


async def test_a_page_token_belongs_to_its_list(mine: Any, theirs: Any) -> None:
    agents = [await create(mine) for _ in range(3)]
    token = (await mine.ListAgents(pb.ListAgentsRequest(page_size=1))).next_page_token
    misuses = {
        "another filter": mine.ListAgents(pb.ListAgentsRequest(page_token=token, status=pb.AGENT_STATUS_DRAFT)),
        "another tenant": theirs.ListAgents(pb.ListAgentsRequest(page_token=token)),
        "another list": mine.ListVersions(pb.ListVersionsRequest(agent_id=agents[0].id, page_token=token)),
        "cut": mine.ListAgents(pb.ListAgentsRequest(page_token=token[:-1])),
        "extended": mine.ListAgents(pb.ListAgentsRequest(page_token=token + "AAAA")),
        "nonsense": mine.ListAgents(pb.ListAgentsRequest(page_token="no token at all")),
        "not ASCII": mine.ListAgents(pb.ListAgentsRequest(page_token="жетон")),
        "huge": mine.ListAgents(pb.ListAgentsRequest(page_token="A" * 1_000_000)),
    }
    reasons = {case: await refusal(call) for case, call in misuses.items()}
    assert reasons == dict.fromkeys(misuses, "PAGE_TOKEN_INVALID")


async def test_bad_list_arguments_are_named(mine: Any) -> None:
    request = pb.ListAgentsRequest(page_size=-1, status=99)  # type: ignore[arg-type]
    assert set(await violations(mine.ListAgents(request))) == {"page_size", "status"}
    assert set(await violations(mine.ListAgents(pb.ListAgentsRequest(page_size=1_001)))) == {"page_size"}


@given(st.uuids(), st.uuids(), st.integers(1, 2**60 - 1), st.integers(1, 2**60 - 1))
def test_an_etag_stands_for_one_revision_of_one_agent(agent: UUID, other: UUID, revision: int, later: int) -> None:
    assert revision_of(agent, etag_of(agent, revision)) == revision
    assert (etag_of(agent, revision) == etag_of(agent, later)) == (revision == later)
    assert revision_of(other, etag_of(agent, revision)) == (revision if agent == other else 0)


@given(st.text())
def test_any_other_text_stands_for_no_revision(text: str) -> None:
    assert revision_of(UUID(NOBODY), text) == 0


def test_a_mask_may_name_the_model_or_parts_of_it() -> None:
    assert expand(["model"]) == (["model.provider", "model.name", "model.config"], {})
    assert expand(["model.name", "tags"]) == (["model.name", "tags"], {})
    assert expand(list(RULES))[0] == list(RULES)
