"""Histograms by window of time and operation: packed, mergeable, the newest kept within a number of bytes."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TypeAlias

from services.traces.histograms import Histogram

WINDOW_SECONDS = 10
BLOCK_SECONDS = 300
MAX_OPERATIONS = 1_000
OTHER_OPERATIONS = "other operations"
OVERHEAD = 200
"""Bytes that a packed histogram takes beside its own."""

Key: TypeAlias = tuple[int, str]
"""When a window starts, in seconds since 1970, and the operation."""


class Windows:
    """Changed by one thread; questions may come from any, as what is packed never changes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._windows: dict[int, dict[str, bytes]] = {}
        self._blocks: dict[Key, tuple[list[bytes], bytes]] = {}
        self.size = 0
        self.changed: set[Key] = set()
        """What is to be written down."""

    def add(self, start: int, operation: str, histogram: Histogram) -> Key:
        """Merge these requests into their window. Returns where they went."""
        start -= start % WINDOW_SECONDS
        window = self._windows.setdefault(start, {})
        name = operation if operation in window or len(window) < MAX_OPERATIONS else OTHER_OPERATIONS
        if name in window:
            merged = Histogram.unpack(window[name])
            merged.merge(histogram)
            histogram = merged
        self.put((start, name), histogram.pack())
        return start, name

    def put(self, key: Key, packed: bytes) -> None:
        """Set what a window holds of an operation."""
        window = self._windows.setdefault(key[0], {})
        self.changed.add(key)
        self.size += OVERHEAD + len(packed) - (OVERHEAD + len(window[key[1]]) if key[1] in window else 0)
        window[key[1]] = packed

    def restore(self, key: Key, packed: bytes) -> bool:
        """Take up what was written. False when it cannot be read."""
        try:
            Histogram.unpack(packed)
        except ValueError:
            return False
        self.put(key, packed)
        self.changed.discard(key)
        return True

    def get(self, key: Key) -> bytes | None:
        """What a window holds of an operation."""
        return self._windows.get(key[0], {}).get(key[1])

    def forget(self, before: float) -> None:
        """Drop what ended before then, and the oldest while there is too much."""
        for start in sorted(self._windows):
            if start + WINDOW_SECONDS >= before and self.size <= self._max_bytes:
                break
            self._drop(start)

    def _drop(self, start: int) -> None:
        window = self._windows.pop(start)
        self.size -= sum(OVERHEAD + len(packed) for packed in window.values())
        self.changed.update((start, operation) for operation in window)
        for key in [key for key in list(self._blocks) if key[0] <= start - BLOCK_SECONDS]:
            self._blocks.pop(key, None)

    def operations(self, low: float, high: float) -> set[str]:
        """The operations with requests between two times."""
        return {operation for start in self._starts(low, high) for operation in list(self._windows.get(start, ()))}

    def merged(self, operation: str, low: float, high: float) -> Histogram:
        """All requests of an operation, or of all where it is empty, in the windows that touch low..high."""
        return _merged(self._pieces(operation, low, high))

    def blocks(self, before: float) -> list[int]:
        """Where the blocks start that ended by then."""
        blocks = {start - start % BLOCK_SECONDS for start in list(self._windows)}
        return sorted(block for block in blocks if block + BLOCK_SECONDS <= before)

    def settle(self, block: int) -> None:
        """Merge a block, so that the first who asks about a day need not wait for that."""
        for operation in ("", *self.operations(block, block + BLOCK_SECONDS)):
            starts = range(block, block + BLOCK_SECONDS, WINDOW_SECONDS)
            self._block((block, operation), [piece for start in starts for piece in self._packed(start, operation)])

    def _starts(self, low: float, high: float) -> list[int]:
        return sorted(start for start in list(self._windows) if start + WINDOW_SECONDS > low and start < high)

    def _pieces(self, operation: str, low: float, high: float) -> Iterator[bytes]:
        """Whole blocks are merged once and remembered, so that a day is not 8,640 windows each time."""
        for block, starts in groupby(self._starts(low, high), key=lambda start: start - start % BLOCK_SECONDS):
            pieces = [piece for start in starts for piece in self._packed(start, operation)]
            if low <= block and block + BLOCK_SECONDS <= high and pieces:
                yield self._block((block, operation), pieces)
            else:
                yield from pieces

    def _packed(self, start: int, operation: str) -> list[bytes]:
        window = self._windows.get(start, {})
        return [window[operation]] if operation in window else [] if operation else list(window.values())

    def _block(self, key: Key, pieces: list[bytes]) -> bytes:
        known = self._blocks.get(key)
        if known is None or known[0] != pieces:
            known = self._blocks[key] = pieces, _merged(pieces).pack()
        return known[1]


def _merged(pieces: Iterable[bytes]) -> Histogram:
    merged = Histogram()
    for piece in pieces:
        merged.merge(Histogram.unpack(piece))
    return merged
