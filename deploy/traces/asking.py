"""What `neurectomy blame` was asked, and its answer, of now or against a baseline."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from deploy.local.failure import StackError
from deploy.traces import change_table, client
from deploy.traces.baselines import Baseline, Baselines, compare, successor
from deploy.traces.blame_table import blame_table, operations_table
from deploy.traces.figures import as_dict, as_json

if TYPE_CHECKING:
    from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceAsyncStub

PERCENTILE = 99.0


@dataclass(frozen=True, slots=True)
class Question:
    """What was written on the command line."""

    operation: str
    percentile: float | None
    window_seconds: int
    save: str
    against: str
    as_json: bool


async def ask(target: client.Target, question: Question, state: Path) -> tuple[RenderableType, str]:
    """What to show, and what to say beside it. Raises StackError."""
    baselines = Baselines(state)
    before = baselines.read(question.against) if question.against else None
    async with client.traces(target) as stub:
        now = await _judged(stub, question, before)
    told = f"Saved to {baselines.save(question.save, now)}." if question.save else ""
    if before is not None:
        comparison = compare(before, now)
        return (change_table.as_json if question.as_json else change_table.change_table)(comparison), told
    return as_json(now.answer) if question.as_json else blame_table(now.answer, now.percentile), told


async def _judged(stub: "TracesServiceAsyncStub", question: Question, before: Baseline | None) -> Baseline:
    percentile = _percentile(question, before)
    operation = await _operation(stub, question, before)
    answer = await client.judge(stub, operation, percentile, question.window_seconds)
    return Baseline(percentile, question.window_seconds, datetime.now(UTC), answer)


def _percentile(question: Question, before: Baseline | None) -> float:
    if before is None:
        return PERCENTILE if question.percentile is None else question.percentile
    if question.percentile not in (None, before.percentile):
        raise StackError(
            f"Baseline {question.against!r} holds P{before.percentile:g}, which P{question.percentile:g} "
            "cannot be compared with. Leave --percentile out."
        )
    return before.percentile


async def _operation(stub: "TracesServiceAsyncStub", question: Question, before: Baseline | None) -> str:
    """What was asked for; without a word of it the baseline's, or the one that has come in its place."""
    seen = [one.operation for one in await client.operations(stub, question.window_seconds)]
    if question.operation or before is None or not seen:
        return client.match(question.operation, seen, question.window_seconds)
    found = successor(before.operation, seen)
    if found is None:
        raise StackError(
            f"{before.operation!r}, the baseline's operation, was not asked for in the last "
            f"{question.window_seconds:,} s. Look further back with --window, or name what is to be compared with it; "
            "there are:\n  " + "\n  ".join(seen)
        )
    return found


async def listing(target: client.Target, question: Question) -> RenderableType:
    """The operations that can be blamed, or those of that name. Raises StackError."""
    if question.save or question.against:
        raise StackError("--list blames nobody, so that there is nothing to --save or to hold --against a baseline.")
    async with client.traces(target) as stub:
        seen = await client.operations(stub, question.window_seconds)
    if question.operation:
        client.match(question.operation, [one.operation for one in seen], question.window_seconds)
        seen = [one for one in seen if question.operation in one.operation]
    if question.as_json:
        return json.dumps([as_dict(one) for one in seen], indent=2)
    return operations_table(seen, question.window_seconds)
