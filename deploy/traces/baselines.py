"""Answers that were kept under a name, and how a percentile has changed since: by label, and summing exactly."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError

from deploy.local.failure import StackError
from deploy.local.state import write_private
from deploy.traces.figures import as_dict
from neurectomy.traces.v1 import traces_pb2 as pb
from services.traces.attribution import moved

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What blame said at some time."""

    percentile: float
    window_seconds: int
    time: datetime
    answer: pb.BlameResponse

    @property
    def operation(self) -> str:
        """Whose latency it is."""
        return self.answer.operation


class Baselines:
    """A folder with a file for each."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "baselines"

    def save(self, name: str, baseline: Baseline) -> Path:
        """Keep it under the name, in place of what had it. Raises StackError for a name that is no file's."""
        file = self._file(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, json.dumps(_to_json(baseline), indent=2) + "\n")
        return file

    def read(self, name: str) -> Baseline:
        """What was saved under the name. Raises StackError, which names those that there are."""
        try:
            return _from_json(json.loads(self._file(name).read_text()))
        except FileNotFoundError:
            raise StackError(f"There is no baseline {name!r}. {self._what_there_is()}") from None
        except (ValueError, KeyError, TypeError, ParseError) as error:
            raise StackError(f"{self._file(name)} is no baseline: {error}") from error

    def names(self) -> Sequence[str]:
        """Of all that were saved."""
        return sorted(file.stem for file in self._folder.glob("*.json"))

    def _file(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise StackError(f"{name!r} cannot name a baseline: letters, digits, `-`, `_` and `.`, 64 at most.")
        return self._folder / f"{name}.json"

    def _what_there_is(self) -> str:
        names = self.names()
        return f"There are: {', '.join(names)}." if names else "None was saved yet; `neurectomy blame --save` does."


def _to_json(baseline: Baseline) -> dict[str, Any]:
    return {
        "operation": baseline.operation,
        "percentile": baseline.percentile,
        "window_seconds": baseline.window_seconds,
        "time": baseline.time.isoformat(timespec="seconds"),
        "answer": as_dict(baseline.answer),
    }


def _from_json(kept: dict[str, Any]) -> Baseline:
    answer = ParseDict(kept["answer"], pb.BlameResponse(), ignore_unknown_fields=True)
    time = datetime.fromisoformat(kept["time"]).astimezone(UTC)
    return Baseline(float(kept["percentile"]), int(kept["window_seconds"]), time, answer)


@dataclass(frozen=True, slots=True)
class Change:
    """How much one label's part of the percentile was and is, in nanoseconds."""

    label: str
    before: int
    after: int
    within_chance: bool
    """The 95 % intervals of before and after overlap."""

    @property
    def by(self) -> int:
        """What it adds to the percentile's change."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Comparison:
    """A baseline, what is so now, and the change by label, largest first; the parts sum to the percentile's change."""

    before: Baseline
    after: Baseline
    changes: Sequence[Change]
    notes: Sequence[str]


def compare(before: Baseline, after: Baseline) -> Comparison:
    """By label, unless one side has too few requests to be split."""
    split = before.answer.parts and after.answer.parts
    return Comparison(before, after, _changes(before.answer, after.answer) if split else (), _notes(before, after))


def _changes(before: pb.BlameResponse, after: pb.BlameResponse) -> Sequence[Change]:
    was, now = ({part.label: part for part in answer.parts} for answer in (before, after))
    absent = pb.BlamedPart()
    times = [{label: part.duration_ns for label, part in parts.items()} for parts in (was, now)]
    return [_change(label, was.get(label, absent), now.get(label, absent)) for label in moved(*times)]


def _change(label: str, was: pb.BlamedPart, now: pb.BlamedPart) -> Change:
    overlap = was.low_ns <= now.high_ns and now.low_ns <= was.high_ns
    return Change(label, was.duration_ns, now.duration_ns, overlap)


def _notes(before: Baseline, after: Baseline) -> Sequence[str]:
    notes = []
    if before.operation != after.operation:
        same = name_of(before.operation) == name_of(after.operation)
        what = "The operation's document has changed" if same else "These are different operations"
        notes.append(f"{what}: {before.operation or 'all operations'} then, {after.operation or 'all operations'} now.")
    for when, side in (("then", before), ("now", after)):
        if not side.answer.parts:
            answer = side.answer
            notes.append(
                f"Too few requests {when} to say by whom: "
                f"{answer.tail_count} beyond the percentile of {answer.request_count:,}."
            )
    return notes


def name_of(operation: str) -> str:
    """`query AgentsPage 3f9a61c2` without the hash of its document."""
    name, _, digest = operation.rpartition(" ")
    return name if re.fullmatch(r"[0-9a-f]{8}", digest) else operation


def successor(operation: str, seen: Sequence[str]) -> str | None:
    """The operation of those seen that is the same, or has the same name and another document."""
    if operation in seen:
        return operation
    return next((name for name in seen if name_of(name) == name_of(operation)), None)
