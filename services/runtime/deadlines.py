"""The caller's deadline, known everywhere below the call: it becomes the deadline of calls and statements in turn."""

import time
from contextvars import ContextVar

from services.runtime.errors import DeadlineExceeded
from services.runtime.outcomes import SLACK_PART, SLACK_SECONDS
from services.runtime.scopes import Call

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def set_budget(seconds: float | None) -> None:
    """From now on, what this task and its children do has this many seconds; None for no end."""
    _deadline.set(None if seconds is None else time.monotonic() + seconds)


def budget() -> float | None:
    """Seconds until the deadline, or None where there is none. Raises DeadlineExceeded when it has passed."""
    deadline = _deadline.get()
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded
    return left


def time_left(limit: float) -> float:
    """Seconds until the deadline, at most `limit`. Raises DeadlineExceeded when it has passed."""
    left = budget()
    return limit if left is None else min(left, limit)


def way_home(seconds: float) -> float:
    """What is left of a call's time for its end to reach the caller, twice what a late end is told by (outcomes.py).

    Work that is stopped then still answers DEADLINE_EXCEEDED by itself, and its spans say where the time went; past the
    caller's own deadline no trailer would arrive.
    """
    return min(2 * (SLACK_SECONDS + SLACK_PART * seconds), seconds / 4)


class DeadlineScope:
    """Takes over the deadline that came with the call, less the way home."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        seconds = self._call.seconds
        set_budget(None if seconds is None else seconds - way_home(seconds))

    def __exit__(self, *_: object) -> None:
        return None
