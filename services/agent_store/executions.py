"""Executions: how a run of an agent begins and ends."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from services.agent_store.idempotency import REQUEST_ID, Request, made_before
from services.agent_store.store import executions as rows
from services.agent_store.store.transactions import Store
from services.runtime import fields
from services.runtime.errors import AgentNotFound, ExecutionFinished, ExecutionNotFound, InvalidFields
from services.runtime.fields import Rule, free_form, identifier, number, one_of, optional, text, uuids
from services.runtime.postgres import Row

SUCCEEDED, FAILED = "SUCCEEDED", "FAILED"
TOKENS = number(0, 2**63 - 1)
START_RULES: Mapping[str, Rule] = {
    "agent_id": identifier,
    "input": optional(free_form),
    "request_id": REQUEST_ID,
}
ENDING_RULES: Mapping[str, Rule] = {
    "status": one_of(SUCCEEDED, FAILED),
    "output": optional(free_form),
    "error": text(0, 10_000),
    "input_tokens": TOKENS,
    "output_tokens": TOKENS,
}
DEFAULT_EACH = 10
LIST_RULES: Mapping[str, Rule] = {"agent_ids": fields.BATCH, "page_size_per_agent": number(0, 100)}

FreeForm = dict[str, Any]


async def start(
    store: Store, tenant: UUID, new_id: UUID, agent_id: str, given: FreeForm | None, request: Request
) -> Row:
    """A new run of the agent's latest version, or the one that the request made before.

    Raises AgentNotFound, InvalidFields and RequestIdReused.
    """
    fields.check({"agent_id": agent_id, "input": given, "request_id": request.request_id}, START_RULES)
    row = await rows.start(store, tenant, new_id, UUID(agent_id), request, given)
    return row or await _started_before(store, tenant, agent_id, request)


async def _started_before(store: Store, tenant: UUID, agent_id: str, request: Request) -> Row:
    """What the request was answered when it came first, whatever has become of the run since."""
    execution_id = await made_before(store, tenant, request)
    row = await rows.as_started(store, tenant, execution_id) if execution_id else None
    if row is None:
        raise AgentNotFound(agent_id)
    return row


async def finish(store: Store, tenant: UUID, execution_id: str, ending: Mapping[str, object]) -> Row:
    """The ended run. `ending` has a value for each of ENDING_RULES.

    Raises ExecutionNotFound, InvalidFields, and ExecutionFinished when it has ended in another way.
    """
    problems = fields.problems({**ending, "id": execution_id}, {**ENDING_RULES, "id": identifier})
    if ending["error"] and ending["status"] == SUCCEEDED:
        problems["error"] = "is only for FAILED"
    if problems:
        raise InvalidFields(**problems)
    row = await rows.finish(store, tenant, UUID(execution_id), [ending[name] for name in ENDING_RULES])
    return row or await _finished_before(store, tenant, UUID(execution_id), ending)


async def _finished_before(store: Store, tenant: UUID, execution_id: UUID, ending: Mapping[str, object]) -> Row:
    row = await rows.get(store, tenant, execution_id)
    if row is None:
        raise ExecutionNotFound(execution_id)
    if any(row[name] != value for name, value in ending.items()):
        raise ExecutionFinished
    return row


async def latest(store: Store, tenant: UUID, agent_ids: Sequence[str], each: int) -> list[Row]:
    """The latest runs of each agent, by agent in the order asked, newest first. Raises InvalidFields."""
    fields.check({"agent_ids": agent_ids, "page_size_per_agent": each}, LIST_RULES)
    return await rows.latest(store, tenant, uuids(agent_ids), each or DEFAULT_EACH)
