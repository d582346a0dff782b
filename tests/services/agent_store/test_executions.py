"""Executions over real gRPC and PostgreSQL: begun once, ended in one way, listed by agent."""

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask

from neurectomy.agent_store.v1 import agent_store_pb2 as pb
from tests.conftest import reason
from tests.services.agent_store.conftest import NOBODY, create, refusal, violations

RUNNING, SUCCEEDED, FAILED = (
    pb.EXECUTION_STATUS_RUNNING,
    pb.EXECUTION_STATUS_SUCCEEDED,
    pb.EXECUTION_STATUS_FAILED,
)
TOO_LARGE = {"x": "y" * 100_000}
ENDINGS: dict[str, dict[str, Any]] = {
    "well": {"status": SUCCEEDED, "output": {"answer": [42.0, None]}, "input_tokens": 2**40, "output_tokens": 1},
    "badly": {"status": FAILED, "error": "e" * 10_000, "output": {"partial": True}},
    "without a word": {"status": SUCCEEDED},
    "with nothing": {"status": SUCCEEDED, "output": {}},
}


async def start(stub: Any, agent_id: str, **fields: Any) -> pb.Execution:
    run: pb.Execution = (await stub.StartExecution(pb.StartExecutionRequest(agent_id=agent_id, **fields))).execution
    return run


async def finish(stub: Any, execution_id: str, **fields: Any) -> pb.Execution:
    run: pb.Execution = (await stub.FinishExecution(pb.FinishExecutionRequest(id=execution_id, **fields))).execution
    return run


async def latest(stub: Any, agent_ids: list[str], each: int = 0) -> list[pb.Execution]:
    request = pb.BatchListExecutionsRequest(agent_ids=agent_ids, page_size_per_agent=each)
    return list((await stub.BatchListExecutions(request)).executions)


async def test_a_run_is_of_the_latest_version(mine: Any) -> None:
    agent = await create(mine)
    changed = pb.UpdateAgentRequest(agent=pb.Agent(id=agent.id, name="New"), update_mask=FieldMask(paths=["name"]))
    await mine.UpdateAgent(changed)
    run = await start(mine, agent.id, input={"question": "?"})
    assert (run.agent_id, run.version, run.status) == (agent.id, 2, RUNNING)
    assert json_format.MessageToDict(run.input) == {"question": "?"}
    assert {field.name for field, _ in run.ListFields()} == {
        "id",
        "agent_id",
        "version",
        "status",
        "input",
        "start_time",
    }
    assert await latest(mine, [agent.id]) == [run]


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
async def test_a_run_ends_once_however_often_that_is_said(mine: Any, ending: dict[str, Any]) -> None:
    agent = await create(mine)
    run = await start(mine, agent.id)
    ended = await finish(mine, run.id, **ending)
    expected = pb.Execution.FromString(run.SerializeToString())
    expected.MergeFrom(pb.Execution(**ending, end_time=ended.end_time, duration=ended.duration))
    assert ended == expected
    took = ended.end_time.ToDatetime() - ended.start_time.ToDatetime()
    assert ended.duration.ToTimedelta() == took
    assert 0 < took.total_seconds() < 60
    assert await finish(mine, run.id, **ending) == ended
    assert await latest(mine, [agent.id]) == [ended]


OTHER_ENDINGS: dict[str, dict[str, Any]] = {
    "status": {"status": FAILED},
    "output": {"output": {"answer": 43.0}},
    "no output": {"output": None},
    "tokens": {"output_tokens": 2},
}


@pytest.mark.parametrize("change", OTHER_ENDINGS.values(), ids=OTHER_ENDINGS)
async def test_a_run_does_not_end_in_two_ways(mine: Any, change: dict[str, Any]) -> None:
    agent = await create(mine)
    run = await start(mine, agent.id)
    ended = await finish(mine, run.id, **ENDINGS["well"])
    assert await refusal(finish(mine, run.id, **(ENDINGS["well"] | change))) == "EXECUTION_FINISHED"
    assert await latest(mine, [agent.id]) == [ended]


async def test_of_many_ways_to_end_one_wins(mine: Any) -> None:
    run = await start(mine, (await create(mine)).id)
    endings = [finish(mine, run.id, status=SUCCEEDED, output_tokens=n) for n in range(20)]
    outcomes = await asyncio.gather(*endings, return_exceptions=True)
    assert len([outcome for outcome in outcomes if isinstance(outcome, pb.Execution)]) == 1
    errors = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert [reason(error) for error in errors] == ["EXECUTION_FINISHED"] * 19


BAD_STARTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "no agent": ({"agent_id": ""}, {"agent_id"}),
    "large input": ({"input": TOO_LARGE}, {"input"}),
    "NUL": ({"input": {"a": "\0"}}, {"input"}),
    "no UUID": ({"request_id": "x"}, {"request_id"}),
    "all": ({"agent_id": "x", "input": {"a": "\0"}, "request_id": "x"}, {"agent_id", "input", "request_id"}),
}


@pytest.mark.parametrize(("fields", "bad"), BAD_STARTS.values(), ids=BAD_STARTS)
async def test_bad_starts_are_refused(mine: Any, fields: dict[str, Any], bad: set[str]) -> None:
    request = pb.StartExecutionRequest(**{"agent_id": (await create(mine)).id, **fields})
    assert set(await violations(mine.StartExecution(request))) == bad


BAD_ENDINGS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "no status": ({"status": 0}, {"status"}),
    "no end": ({"status": RUNNING}, {"status"}),
    "unknown status": ({"status": 99}, {"status"}),
    "an error and yet well": ({"error": "x"}, {"error"}),
    "long error": ({"status": FAILED, "error": "x" * 10_001}, {"error"}),
    "NUL": ({"status": FAILED, "error": "\0"}, {"error"}),
    "large output": ({"output": TOO_LARGE}, {"output"}),
    "less than no tokens": ({"input_tokens": -1, "output_tokens": -1}, {"input_tokens", "output_tokens"}),
    "no UUID": ({"id": "x"}, {"id"}),
}


@pytest.mark.parametrize(("fields", "bad"), BAD_ENDINGS.values(), ids=BAD_ENDINGS)
async def test_bad_endings_are_refused(mine: Any, fields: dict[str, Any], bad: set[str]) -> None:
    agent = await create(mine)
    run = await start(mine, agent.id)
    request = pb.FinishExecutionRequest(**{"id": run.id, "status": SUCCEEDED, **fields})
    assert set(await violations(mine.FinishExecution(request))) == bad
    assert await latest(mine, [agent.id]) == [run]


async def test_what_is_not_there_or_not_ours_is_not_found(mine: Any, theirs: Any) -> None:
    foreign = await create(theirs)
    run = await start(theirs, foreign.id)
    for agent_id in (NOBODY, foreign.id):
        assert await refusal(start(mine, agent_id)) == "AGENT_NOT_FOUND"
        assert await refusal(start(mine, agent_id, request_id=str(uuid4()))) == "AGENT_NOT_FOUND"
    for execution_id in (NOBODY, run.id):
        assert await refusal(finish(mine, execution_id, status=SUCCEEDED)) == "EXECUTION_NOT_FOUND"
    assert await latest(mine, [foreign.id]) == []
    assert await latest(theirs, [foreign.id]) == [run]


async def test_a_repeated_start_answers_the_same_even_after_the_end(mine: Any) -> None:
    agent = await create(mine)
    request = {"input": {"question": "?"}, "request_id": str(uuid4())}
    runs = await asyncio.gather(*(start(mine, agent.id, **request) for _ in range(20)))
    assert runs == [runs[0]] * 20
    ended = await finish(mine, runs[0].id, **ENDINGS["well"])
    assert await start(mine, agent.id, **request) == runs[0]
    assert await refusal(start(mine, agent.id, **(request | {"input": {}}))) == "REQUEST_ID_REUSED"
    assert await latest(mine, [agent.id]) == [ended]


async def test_runs_are_grouped_in_the_order_asked_newest_first(mine: Any) -> None:
    agents = [(await create(mine)).id for _ in range(3)]
    runs = {agent: [(await start(mine, agent)).id for _ in range(12)] for agent in agents[:2]}
    asked = [agents[1], NOBODY, "x", agents[2], agents[0], agents[1]]
    for each, expected in ((0, 10), (1, 1), (3, 3), (12, 12), (100, 12)):
        found = [(run.agent_id, run.id) for run in await latest(mine, asked, each)]
        assert found == [(agent, run) for agent in agents[1::-1] for run in runs[agent][: -expected - 1 : -1]]


async def test_bad_list_arguments_are_named(mine: Any) -> None:
    for each in (-1, 101):
        assert set(await violations(latest(mine, [NOBODY], each))) == {"page_size_per_agent"}
    assert set(await violations(latest(mine, [NOBODY] * 1_001, 101))) == {"agent_ids", "page_size_per_agent"}
    assert await latest(mine, [str(uuid4()) for _ in range(1_000)]) == []
