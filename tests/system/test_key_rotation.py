"""Keys are rotated under load without a refused request, and after a revocation every service refuses."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from neurectomy.agent_store.v1 import agent_store_pb2 as agents
from neurectomy.agent_store.v1.agent_store_pb2_grpc import AgentStoreServiceStub
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import signing_keys_pb2 as pb
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.signing_keys_pb2_grpc import SigningKeysServiceStub
from neurectomy.vector_search.v1 import vector_search_pb2 as vectors
from neurectomy.vector_search.v1.vector_search_pb2_grpc import VectorSearchServiceStub
from services.runtime import channels
from tests.conftest import reason
from tests.services.auth.databases import own_database
from tests.system.beside import beside

NOTICE_SECONDS = 4
AFTER_SECONDS = 3.0
GIVE_UP_SECONDS = 40.0
"""A service that hears of no revocation forgets a token after 30 s."""
CALLERS = 3

Connected = Callable[[Any, str | None], Any]
"""(StubClass, token) -> a stub."""


@dataclass(frozen=True, slots=True)
class World:
    """Two replicas of auth on a database of their own, and two services that verify by the first."""

    connections: dict[str, Connected]
    secret: str

    async def token(self, replica: str = "auth") -> str:
        """An anonymous reader's."""
        stub = self.connections[replica](AuthServiceStub, None)
        answer = await stub.CreateAnonymousToken(auth_pb2.CreateAnonymousTokenRequest())
        return str(answer.access_token.token)

    async def operator(self) -> Any:
        """The keys, at the second replica."""
        request = auth_pb2.CreateServiceTokenRequest(service="cli", secret=self.secret)
        answer = await self.connections["auth"](AuthServiceStub, None).CreateServiceToken(request)
        return self.connections["second"](SigningKeysServiceStub, answer.access_token.token)

    def calls(self, token: str) -> dict[str, Callable[[], Any]]:
        """One to each process, by its name."""
        users, listing = auth_pb2.BatchGetUsersRequest(), vectors.ListCollectionsRequest()
        store = self.connections["agent_store"](AgentStoreServiceStub, token)
        search = self.connections["vector_search"](VectorSearchServiceStub, token)
        first, second = (self.connections[name](AuthServiceStub, token) for name in ("auth", "second"))
        return {
            "auth": lambda: first.BatchGetUsers(users),
            "the other auth": lambda: second.BatchGetUsers(users),
            "agent_store": lambda: store.ListAgents(agents.ListAgentsRequest()),
            "vector_search": lambda: search.ListCollections(listing),
        }


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with AsyncExitStack() as resources:
        own = await resources.enter_async_context(own_database(stack))
        auth = {"DATABASE_URL": own.url(), "SIGNING_KEY_NOTICE_SECONDS": str(NOTICE_SECONDS)}
        connections: dict[str, Connected] = {}
        for called, names in (("auth", ["auth", "agent_store", "vector_search"]), ("second", ["auth"])):
            folder: Path = tmp_path_factory.mktemp(called)
            addresses, _ = await resources.enter_async_context(beside(stack, folder, names, {"auth": auth}))
            for name in names:
                connection = _connected(addresses.targets[name])
                connections[called if name == "auth" else name] = await resources.enter_async_context(connection)
        yield World(connections, stack.secrets.services["cli"])


@asynccontextmanager
async def _connected(target: str) -> AsyncIterator[Connected]:
    async with grpc.aio.insecure_channel(target, options=channels.OPTIONS) as raw:

        def connect(stub: Any, token: str | None) -> Any:
            async def given() -> str | None:
                return token

            return stub(channels.traced(raw, given))

        yield connect


def _kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def _call_until(world: World, ended: asyncio.Event) -> tuple[Counter[str], list[str]]:
    """New tokens of both replicas all the time, and the first of them again and again: who signed them, what failed."""
    first, used, failed = await world.token(), Counter[str](), []
    while not ended.is_set():
        for token in (first, await world.token("auth"), await world.token("second")):
            used[_kid(token)] += 1
            for name, call in world.calls(token).items():
                try:
                    await call()
                except grpc.aio.AioRpcError as error:
                    failed.append(f"{name}: {error.code().name} {error.details()}")
    return used, failed


async def test_a_rotation_under_load_fails_no_request(world: World) -> None:
    old, ended = _kid(await world.token()), asyncio.Event()
    running = [asyncio.create_task(_call_until(world, ended)) for _ in range(CALLERS)]
    new = (await (await world.operator()).RotateSigningKeys(pb.RotateSigningKeysRequest())).signing_key.id
    await asyncio.sleep(NOTICE_SECONDS + AFTER_SECONDS)
    ended.set()
    counts, failures = zip(*await asyncio.gather(*running), strict=True)
    assert [text for failed in failures for text in failed] == []
    used: Counter[str] = sum(counts, Counter())
    assert set(used) == {old, new}
    print(f"\n{used[old]} tokens of the old key and {used[new]} of the new one, each used at four processes")


async def test_a_revoked_keys_tokens_are_refused_everywhere(world: World) -> None:
    pytest.importorskip("services.runtime.verifier", reason="needs the verifier that hears of revocations")
    old_token = await world.token()
    for call in world.calls(old_token).values():
        await call()
    request = pb.RevokeSigningKeyRequest(id=_kid(old_token), replace=True)
    await (await world.operator()).RevokeSigningKey(request)
    start = time.monotonic()
    for name, call in world.calls(old_token).items():
        assert await _refusal(call) == "TOKEN_INVALID"
        print(f"{name} refuses the revoked key's token after {time.monotonic() - start:.2f} s")
    new_token = await _token_of_another_key(world, _kid(old_token))
    for call in world.calls(new_token).values():
        await call()


async def _refusal(call: Callable[[], Any]) -> str:
    """The first one, waited for."""
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                return reason(error)
            await asyncio.sleep(0.05)


async def _token_of_another_key(world: World, revoked: str) -> str:
    """The first replica hears of the new key within seconds."""
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while True:
            token = await world.token()
            if _kid(token) != revoked:
                return token
            await asyncio.sleep(0.05)
