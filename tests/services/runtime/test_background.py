"""Work beside other work ends with it, also where something in it takes no notice of being cancelled."""

import asyncio

from services.runtime.background import in_background


async def test_a_cancellation_that_is_swallowed_comes_again() -> None:
    swallowed = 0

    async def work() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    async with asyncio.timeout(30), in_background(work()):
        await asyncio.sleep(0)
    assert swallowed == 2
