"""Log lines of traces that nobody has sent a span of yet: most never will, a few become kept traces within seconds."""

from collections import OrderedDict

MAX_LINES = 1_000
"""Of one trace."""
OVERHEAD = 150


class Recent:
    """A bounded number of bytes, the newest winning. Kept traces hold their own lines and are not touched by these."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lines: OrderedDict[str, list[bytes]] = OrderedDict()
        self.size = 0
        self.count = 0

    def add(self, trace_id: str, packed: bytes) -> bool:
        """Hold a line for a while. False when its trace has too many."""
        held = self._lines.setdefault(trace_id, [])
        if len(held) >= MAX_LINES:
            return False
        held.append(packed)
        self.count += 1
        self.size += len(packed) + OVERHEAD
        while self.size > self._max_bytes:
            self._drop(self._lines.popitem(last=False)[1])
        return True

    def take(self, trace_id: str) -> list[bytes]:
        """The lines of a trace that is kept from now on."""
        held = self._lines.pop(trace_id, [])
        self._drop(held)
        return held

    def _drop(self, lines: list[bytes]) -> None:
        self.count -= len(lines)
        self.size -= sum(len(packed) + OVERHEAD for packed in lines)
