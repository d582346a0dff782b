"""The drill's trace ids, which say in themselves where their request is to be slow.

Four digits that mark the drill, one for the branch that is held back, one for each label in units of 10 ms, and the
rest is the request's number. So every process knows by itself, exactly and reproducibly, what it is to wait for.
"""

from collections.abc import Mapping

MARK = "d411"
UNIT = 10
HELD = 120
"""Milliseconds for which the gateway holds a branch back: longer than all that is hidden beside it."""
BRANCHES = ("gateway", "redis", "users", "executions", "searches", "traversals")
"""What the gateway waits for at the same time, as the drill's gateway names it."""
LABELS: Mapping[str, str] = {
    "gateway": "gateway",
    "gateway/redis": "redis",
    "auth": "users",
    "auth/postgres": "users",
    "agent_store": "executions",
    "agent_store/postgres": "executions",
    "vector_search": "searches",
    "vector_search/postgres": "searches",
    "graph": "traversals",
    "graph/neo4j": "traversals",
}
"""Whom a delay is owed by -> the branch that it is in."""
_FIRST = len(MARK) + 1
_PLACES = {label: _FIRST + place for place, label in enumerate(LABELS)}
_REST = 32 - _FIRST - len(LABELS)


def trace_id(number: int, held: str, delays: Mapping[str, int]) -> str:
    """Of the request of that number, whose labels are to be slow by so many milliseconds."""
    digits = "".join(f"{delays.get(label, 0) // UNIT:x}" for label in LABELS)
    return f"{MARK}{BRANCHES.index(held):x}{digits}{number:0{_REST}x}"


def held(trace: str | None) -> str | None:
    """The branch that is held back; None outside of the drill."""
    return BRANCHES[int(trace[len(MARK)], 16)] if trace and trace.startswith(MARK) else None


def seconds(trace: str | None, label: str) -> float:
    """How long the label is to be slow; nothing outside of the drill."""
    return int(trace[_PLACES[label]], 16) * UNIT / 1_000 if trace and trace.startswith(MARK) else 0.0
