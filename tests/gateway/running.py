"""Another gateway beside the stack's own, with settings of its own."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.local.stack import Stack
from tests.gateway.clients import Client

START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway process."""

    process: asyncio.subprocess.Process
    url: str
    client: Client

    @property
    def socket_url(self) -> str:
        """Where its WebSockets are."""
        return self.url.replace("http", "ws") + "/graphql"


@asynccontextmanager
async def gateway(stack: Stack, **settings: str) -> AsyncIterator[Gateway]:
    """A gateway in front of the stack's services, on a free port; the settings are added to the stack's."""
    async with listening("gateway", {**stack.environment("gateway"), **settings}) as (process, address):
        url = f"http://{address}"
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            yield Gateway(process, url, Client(http))


@asynccontextmanager
async def listening(
    module: str, environment: Mapping[str, str]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A process of ours on a free port, and its address."""
    process = await start(module, {**environment, "LISTEN": "127.0.0.1:0"})
    try:
        async with asyncio.timeout(START_SECONDS):
            port = (await line(process, "listening"))["port"]
        yield process, f"127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def start(module: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    """The process, whose log can be read from its standard error."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=dict(environment), stderr=asyncio.subprocess.PIPE
    )


async def line(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """The next line of its log that tells of an event."""
    assert process.stderr is not None
    async for text in process.stderr:
        entry: dict[str, Any] = json.loads(text)
        if entry["event"] == event:
            return entry
    raise AssertionError(f"the gateway ended without a word of {event!r}")
