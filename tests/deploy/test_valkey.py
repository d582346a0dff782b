"""Valkey as the stack runs it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from deploy.local import ports, valkey
from deploy.local.processes import Supervised
from deploy.local.state import State

if TYPE_CHECKING:
    from deploy.local.stack import Stack


async def test_it_asks_for_a_password(stack: "Stack") -> None:
    async with Redis(port=stack.ports["valkey"]) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.ping()


async def test_it_keeps_what_it_was_told_over_a_restart(tmp_path: Path) -> None:
    state, port = State(tmp_path), ports.settle({"valkey": 0})["valkey"]
    server = Supervised(valkey.prepare(state, port))
    for action in ("write", "read"):
        await server.start()
        async with Redis.from_url(valkey.url(state.secret("valkey"), port), decode_responses=True) as client:
            if action == "write":
                await client.set("kept", "yes")
            assert await client.get("kept") == "yes"
        await server.stop()
