"""How a call ended, found out once: its span, its metric and its log line say the same, and what the caller sees."""

import asyncio
from typing import NamedTuple

import grpc

from services.runtime.errors import DomainError

OK: int = grpc.StatusCode.OK.value[0]
CANCELLED: int = grpc.StatusCode.CANCELLED.value[0]
UNKNOWN: int = grpc.StatusCode.UNKNOWN.value[0]
DEADLINE_EXCEEDED: int = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
SLACK_SECONDS, SLACK_PART = 0.02, 0.01
"""A caller gives up by its own clock a little before ours is at zero: timeouts travel rounded up, by as much as 1 %."""


class Outcome(NamedTuple):
    """The status code that the caller sees, and whether trailers still reach it there."""

    code: int
    heard: bool
    error: BaseException | None


def status_of(error: BaseException | None) -> int:
    """The gRPC status code that an error means by itself."""
    if error is None:
        return OK
    if isinstance(error, DomainError):
        return int(error.code.value[0])
    if isinstance(error, grpc.aio.AioRpcError):
        return int(error.code().value[0])
    return CANCELLED if isinstance(error, asyncio.CancelledError | GeneratorExit) else UNKNOWN


def outcome_of(error: BaseException | None, limit: float | None, left: float | None) -> Outcome:
    """How a call ended that had `limit` seconds when it came, of which `left` are left; None for no deadline.

    A handler that blocked through its deadline believes that it succeeded, and one that waited is cancelled by whoever
    gave up: both callers see DEADLINE_EXCEEDED.
    """
    code = status_of(error)
    if limit is None or left is None:
        return Outcome(code, code != CANCELLED, error)
    gave_up = code in (CANCELLED, DEADLINE_EXCEEDED) and left <= SLACK_SECONDS + SLACK_PART * limit
    if gave_up or left == 0:
        return Outcome(DEADLINE_EXCEEDED, False, error)
    return Outcome(code, code != CANCELLED, error)
