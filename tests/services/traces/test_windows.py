"""Windows of latencies: what was merged ahead of a question is what the question would have merged."""

from random import Random

from services.traces.histograms import Histogram
from services.traces.population import Request
from services.traces.windows import BLOCK_SECONDS, WINDOW_SECONDS, Windows

NOW = 1_000_190
FIRST = NOW - 3_000


def _filled(windows: Windows) -> Windows:
    random = Random(5)
    for start in range(FIRST, NOW, WINDOW_SECONDS):
        for operation in ("a", "b")[: random.randrange(3)]:
            histogram = Histogram()
            own = random.randrange(1, 10**9)
            histogram.add(Request(own + 7, 1, {"gateway": own, operation: 7}))
            windows.add(start, operation, histogram)
    return windows


def test_what_was_settled_is_the_same() -> None:
    asked, settled = _filled(Windows(10**9)), _filled(Windows(10**9))
    for block in settled.blocks(NOW):
        settled.settle(block)
    for operation in ("a", "b", ""):
        for low, high in ((0, NOW + 10), (FIRST + 55, NOW - 415), (NOW - 700, NOW)):
            assert settled.merged(operation, low, high) == asked.merged(operation, low, high)


def test_only_what_is_over_is_settled() -> None:
    blocks = _filled(Windows(10**9)).blocks(NOW)
    assert all(block % BLOCK_SECONDS == 0 and block + BLOCK_SECONDS <= NOW for block in blocks)
    assert blocks[-1] + 2 * BLOCK_SECONDS > NOW


def test_what_changes_after_it_was_settled_counts() -> None:
    windows, late = _filled(Windows(10**9)), Histogram()
    [*_, block] = windows.blocks(NOW)
    windows.settle(block)
    late.add(Request(10**9, 1, {"graph": 10**9}))
    windows.add(block, "a", late)
    assert "graph" in windows.merged("a", 0, NOW).labels


def test_what_is_dropped_is_gone_with_all_that_was_merged_of_it() -> None:
    windows = _filled(Windows(10**9))
    for block in windows.blocks(NOW):
        windows.settle(block)
    windows.forget(NOW + 10 * BLOCK_SECONDS)
    assert (windows.size, windows.merged("", 0, NOW).buckets, windows.blocks(NOW)) == (0, {}, [])
