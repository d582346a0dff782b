"""The requests of the blame drill, and what came of them. See tests/system/test_drill.py for the idea."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from benchmarks.load import Answer
from services.traces.population import Request
from tests.system import server_timing
from tests.system.drill import marks

MS = 1_000_000
SLOW, UNSEEN = 40, 30
INNOCENT, GUILTY = 2_940, 60
"""Of each row: just as many as the P99 of an operation takes, which needs 30 requests beyond it."""
ROUND_INNOCENT, ROUND_GUILTY = 1_020, 24
"""Three rounds do, where the machine itself is slow in no more than 4 % of the requests."""
SLACK = 40
"""Milliseconds that a request may take beside what it was told to; the machine has disturbed those that take more."""
SAMPLED_INNOCENT, SAMPLED_GUILTY = 29, 9
"""One in so many is kept as a trace."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request: whose guilt it shows, if anyone's, which branch is held back, and who is slow by how much."""

    guilty: str | None
    held: str
    delays: Mapping[str, int]


def round_of(random: Random) -> list[Case]:
    """A part of the load that has everyone's requests in the right proportion, in any order."""
    cases = [Case(None, "gateway", unseen) for unseen in _unseen("gateway", ROUND_INNOCENT, random)]
    for label, branch in marks.LABELS.items():
        hidden = _unseen(branch, ROUND_GUILTY, random)
        cases += [Case(label, branch, {**unseen, label: SLOW}) for unseen in hidden]
    random.shuffle(cases)
    return cases


def _unseen(branch: str, count: int, random: Random) -> Iterator[dict[str, int]]:
    """For each label outside of the branch, a delay in exactly half of the requests, whichever others have one."""
    hidden = [label for label, its in marks.LABELS.items() if its != branch]
    columns = [random.sample([UNSEEN, 0] * (count // 2), count) for _ in hidden]
    for delays in zip(*columns, strict=True):
        yield dict(zip(hidden, delays, strict=True))


NEEDED: Mapping[str | None, int] = {None: INNOCENT, **dict.fromkeys(marks.LABELS, GUILTY)}
"""How many requests of each kind there must be; None stands for the innocent."""


class Drill:
    """The cases so far, and what came of them."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.requests: dict[int, Request] = {}
        """By the number of their case, as are the others."""
        self.own_times: dict[int, Mapping[str, int]] = {}
        """By label, of those that were kept as traces."""

    def is_enough(self) -> bool:
        """Whether each row has enough requests that the machine did not disturb."""
        return all(self._calm(guilty) >= count for guilty, count in NEEDED.items())

    def _calm(self, guilty: str | None) -> int:
        most = marks.HELD + (SLOW if guilty else 0) + SLACK
        return sum(request.latency <= most * MS for request in self._of(guilty))

    def _of(self, guilty: str | None) -> list[Request]:
        """Those of a kind, the fastest first."""
        those = [request for number, request in self.requests.items() if self.cases[number].guilty == guilty]
        return sorted(those, key=lambda request: request.latency)

    def row(self, label: str) -> list[Request]:
        """The requests of a label's row."""
        return [*self._of(None)[:INNOCENT], *self._of(label)[:GUILTY]]

    def traces(self, label: str) -> list[Mapping[str, int]]:
        """The own times in those of a label's row that were kept; at most 2 % are guilty."""
        innocent = [times for number, times in self.own_times.items() if self.cases[number].guilty is None]
        guilty = [times for number, times in self.own_times.items() if self.cases[number].guilty == label]
        return [*innocent, *guilty[: len(innocent) * GUILTY // INNOCENT]]

    def headers(self, number: int) -> dict[str, str]:
        """What makes a request one of the drill."""
        flags = "01" if self.is_sampled(number) else "00"
        return {"traceparent": f"00-{self.trace_id(number)}-{number + 1:016x}-{flags}", **server_timing.ASK}

    def trace_id(self, number: int) -> str:
        """Of a case."""
        return marks.trace_id(number, self.cases[number].held, self.cases[number].delays)

    def is_sampled(self, number: int) -> bool:
        """Whether a case asks to be kept as a trace."""
        return number % (SAMPLED_GUILTY if self.cases[number].guilty else SAMPLED_INNOCENT) == 0

    def hear(self, number: int, answer: Answer) -> None:
        """Note what came of a case."""
        assert answer.outcome == "ok"
        _, shares = server_timing.latency_and_shares(answer.headers)
        self.requests[number] = Request(sum(shares.values()), 1, shares)
