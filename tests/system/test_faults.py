"""A service dies: its fields fail typed, the rest arrives, and it comes back without anyone touching the gateway."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from benchmarks.scenarios import DEMO
from deploy.local.demo import seed
from deploy.local.stack import Stack, say_nothing

FIELD_OF = {"graph": "collaborators", "vector_search": "knowledge", "auth": "owner"}
"""What of an agent each service answers; the agent store is the agent itself."""
SECONDS = 5.0


async def _ask(stack: Stack) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{stack.gateway_url}/graphql", json={"query": DEMO}, timeout=30)
    return dict(answer.json())


async def _ready(stack: Stack) -> tuple[int, dict[str, str]]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{stack.gateway_url}/ready")
    return answer.status_code, dict(answer.json()["services"])


@pytest.mark.parametrize("service", FIELD_OF)
async def test_a_dead_service_takes_only_its_fields_along(stack: Stack, service: str) -> None:
    await seed(stack, say_nothing)
    field = FIELD_OF[service]
    whole = await _settled(stack)
    assert "errors" not in whole
    await stack.kill(service)
    try:
        answer = await _ask(stack)
        assert [agent["name"] for agent in answer["data"]["agents"]] == [
            agent["name"] for agent in whole["data"]["agents"]
        ]
        assert [agent[field] for agent in answer["data"]["agents"]] == [None] * 3
        assert {error["path"][-1] for error in answer["errors"]} == {field}
        assert {error["extensions"]["code"] for error in answer["errors"]} == {"SERVICE_UNAVAILABLE"}
        assert {error["extensions"]["service"] for error in answer["errors"]} == {service}
        status, services = await _ready(stack)
        assert (status, [name for name, state in services.items() if state != "serving"]) == (503, [service])
    finally:
        await stack.start(service)
    await _until_whole(stack, whole)


async def _settled(stack: Stack) -> dict[str, Any]:
    """The answer once it no longer changes: right after the seeding, the graph is still taking events in."""
    before, now = None, await _ask(stack)
    while before != now:
        await asyncio.sleep(1)
        before, now = now, await _ask(stack)
    return now


async def _until_whole(stack: Stack, whole: dict[str, Any]) -> None:
    began = time.monotonic()
    while (await _ask(stack)) != whole:
        assert time.monotonic() - began < SECONDS
        await asyncio.sleep(0.1)
    assert (await _ready(stack))[0] == 200
