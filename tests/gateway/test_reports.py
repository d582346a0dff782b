"""What is reported, and what is done about a report that does not arrive."""

from typing import Any

import pytest

from gateway.reports import WINDOW_SECONDS, Reports
from neurectomy.traces.v1 import traces_pb2 as pb
from services.runtime.errors import InvalidFields, ServiceUnavailable, TooLarge
from services.traces.population import Request


class Answers:
    """A traces service that fails the first report."""

    def __init__(self, error: Exception) -> None:
        self._errors = [error]
        self.counted: list[str] = []

    async def ReportLatency(self, report: pb.ReportLatencyRequest, timeout: float) -> None:  # noqa: N802 - the RPC's name
        if self._errors:
            raise self._errors.pop()
        self.counted += [window.operation for window in report.windows]


class Clock:
    """A window further each time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += WINDOW_SECONDS
        return self.now


async def _sent_twice(error: Exception) -> list[list[str]]:
    answers: Any = Answers(error)
    reports = Reports(answers, Clock())
    for operation in ("first", "second"):
        reports.add(operation, Request(1_000, 1, {"gateway": 1_000}))
    counted = []
    for _ in range(2):
        await reports.send()
        counted.append(list(answers.counted))
    return counted


@pytest.mark.parametrize("error", [InvalidFields(histogram="no"), TooLarge("no")])
async def test_a_report_that_is_refused_does_not_hold_up_the_others(error: Exception) -> None:
    assert await _sent_twice(error) == [["second"], ["second"]]


async def test_a_report_that_did_not_arrive_is_sent_again_before_the_others() -> None:
    assert await _sent_twice(ServiceUnavailable("traces")) == [[], ["first", "second"]]
