"""A busy loop is seen, an idle one is not bothered."""

import asyncio
import time

from services.runtime.loop_lag import PERIOD, LoopLag

MS = 1_000_000


async def test_how_long_a_loop_was_kept_busy_is_told_while_it_is_and_just_after() -> None:
    lag = LoopLag()
    with lag.measured():
        assert lag.now() == 0  # the first question begins the measuring
        time.sleep(0.1)  # noqa: ASYNC251 - this is what is to be seen
        assert lag.now() > 80 * MS  # still inside the callback that keeps it busy
        lag.now()
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        assert lag.now() > 80 * MS  # the first thing that runs afterwards


async def test_nobody_asks_so_no_timer_runs_and_an_old_lag_is_forgotten() -> None:
    lag = LoopLag()
    with lag.measured():
        lag.now()
        time.sleep(0.1)  # noqa: ASYNC251
        async with asyncio.timeout(10):
            while lag._handle is not None:  # noqa: ASYNC110 - a timer that is not there has no event
                await asyncio.sleep(PERIOD)
        assert lag.now() == 0


async def test_outside_nothing_is_measured() -> None:
    lag = LoopLag()
    assert lag.now() == 0
    with lag.measured():
        lag.now()
    time.sleep(0.02)  # noqa: ASYNC251
    assert lag.now() == 0
