"""Loaders: one call for what is asked for together, and each thing once."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from gateway.loaders import Loader, Loaders
from gateway.remote import Services

SERVICES = cast(Services, None)  # handed on to the fetch, which here needs none


class Source:
    """Doubles even numbers, does not know odd ones, and fails where it is told to."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.failing = False

    async def fetch(self, _: Services, keys: Sequence[int]) -> Mapping[int, int]:
        self.calls.append(list(keys))
        await asyncio.sleep(0)
        if self.failing:
            raise ConnectionError
        return {key: key * 2 for key in keys if key % 2 == 0}


async def test_what_is_asked_for_in_one_turn_is_fetched_in_one_call() -> None:
    source = Source()
    loader = Loader(source.fetch, SERVICES, limit=100)
    assert await asyncio.gather(*(loader.load(key) for key in (2, 4, 5, 2))) == [4, 8, None, 4]
    assert source.calls == [[2, 4, 5]]


async def test_whoever_is_woken_up_together_asks_together() -> None:
    source, gate = Source(), asyncio.Event()
    loader = Loader(source.fetch, SERVICES, limit=100)

    async def late(key: int) -> int | None:
        await gate.wait()
        return await loader.load(key)

    tasks = [asyncio.create_task(late(key)) for key in (2, 4, 6)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks) == [4, 8, 12]
    assert source.calls == [[2, 4, 6]]


async def test_what_was_found_is_not_fetched_again_and_neither_is_what_is_on_its_way() -> None:
    source = Source()
    loader = Loader(source.fetch, SERVICES, limit=100)
    on_its_way = loader.load(2)
    await asyncio.sleep(0)
    joined = loader.load(2)
    assert (await on_its_way, await joined, await loader.load(2)) == (4, 4, 4)
    assert source.calls == [[2]]


async def test_many_keys_are_fetched_in_several_calls() -> None:
    source = Source()
    loader = Loader(source.fetch, SERVICES, limit=2)
    assert await asyncio.gather(*(loader.load(key) for key in (2, 4, 6))) == [4, 8, 12]
    assert source.calls == [[2, 4], [6]]


async def test_a_failure_reaches_everyone_and_is_forgotten() -> None:
    source = Source()
    source.failing = True
    loader = Loader(source.fetch, SERVICES, limit=100)
    for future in (loader.load(2), loader.load(4)):
        with pytest.raises(ConnectionError):
            await future
    assert source.calls == [[2, 4]]
    source.failing = False
    assert await loader.load(2) == 4


async def test_who_gives_up_takes_nothing_from_the_others() -> None:
    source = Source()
    loader = Loader(source.fetch, SERVICES, limit=100)
    gone, stays = loader.load(2), loader.load(2)
    gone.cancel()
    assert await stays == 4
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_each_set_of_arguments_has_a_loader_of_its_own() -> None:
    calls: list[tuple[int, list[int]]] = []

    async def add(number: int, _: Services, keys: Sequence[int]) -> Mapping[int, int]:
        calls.append((number, list(keys)))
        return {key: key + number for key in keys}

    loaders = Loaders(SERVICES)
    futures = [loaders.load(add, 1, 10), loaders.load(add, 1, 20), loaders.load(add, 2, 10)]
    assert await asyncio.gather(*futures) == [11, 21, 12]
    assert calls == [(10, [1, 2]), (20, [1])]
