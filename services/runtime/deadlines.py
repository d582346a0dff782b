"""The caller's deadline, known everywhere below the call: it becomes the deadline of calls and statements in turn."""

import time
from contextvars import ContextVar

from services.runtime.errors import DeadlineExceeded
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


class DeadlineScope:
    """Takes over the deadline that came with the call."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        set_budget(self._call.seconds)

    def __exit__(self, *_: object) -> None:
        return None
