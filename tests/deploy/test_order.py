"""What comes before what."""

import asyncio

import pytest

from deploy.local.failure import StackError
from deploy.local.order import closure, in_order, reverse

NEEDS = {"roof": ("walls",), "walls": ("ground",), "garden": ("ground",), "ground": ()}


async def test_each_comes_after_what_it_needs() -> None:
    visited: list[str] = []

    async def visit(name: str) -> None:
        await asyncio.sleep(0.01 if name == "walls" else 0)
        visited.append(name)

    await in_order(NEEDS, visit)
    assert visited == ["ground", "garden", "walls", "roof"]
    visited.clear()
    await in_order(reverse(NEEDS), visit)
    assert visited.index("roof") < visited.index("walls") < visited.index("ground")
    assert visited.index("garden") < visited.index("ground")


async def test_the_first_failure_ends_the_rest_and_stands_alone() -> None:
    ended = asyncio.Event()

    async def visit(name: str) -> None:
        if name == "walls":
            raise StackError("no bricks")
        try:
            await asyncio.sleep(0 if name == "ground" else 60)
        except asyncio.CancelledError:
            ended.set()
            raise

    with pytest.raises(StackError, match="no bricks"):
        await in_order(NEEDS, visit)
    assert ended.is_set()


def test_only_what_is_wanted_and_needed() -> None:
    assert set(closure(NEEDS, ["roof"])) == {"roof", "walls", "ground"}
