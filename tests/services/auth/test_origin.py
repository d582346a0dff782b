"""Whose address counts: the client's if one of ours vouches for it, and otherwise that of whoever calls."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from deploy.local.stack import Stack
from neurectomy.auth.v1 import auth_pb2 as pb
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.runtime import postgres
from tests.conftest import PASSWORD, Tenant, reason, service_token
from tests.gateway.running import listening

CLIENT = {"client-address": "192.0.2.1", "client-device": "Browser"}
PEER = ("127.0.0.1", "")


async def log_in(target: str, tenant: Tenant, password: str, said: Mapping[str, str]) -> UUID:
    """The id of the user, or what the call fails with."""
    async with grpc.aio.insecure_channel(target) as channel:
        request = pb.LogInRequest(email=tenant.email, password=password)
        answer = await AuthServiceStub(channel).LogIn(request, metadata=tuple(said.items()))
        return UUID(answer.user.id)


async def newest_session(stack: Stack, user_id: UUID) -> tuple[str, str]:
    sql = "SELECT address, device FROM sessions WHERE user_id = $1 ORDER BY created_at DESC LIMIT 1"
    async with (
        postgres.connect(stack.database_url("auth"), max_size=5) as database,
        database.all_tenants() as statements,
    ):
        row = await statements.fetchrow("look", sql, user_id)
    assert row is not None
    return row["address"], row["device"]


@pytest.mark.parametrize("of", ["graph", "a user", "nobody", "garbage"])
async def test_only_the_gateway_is_believed(stack: Stack, tenant: Tenant, of: str) -> None:
    tokens = {"a user": tenant.token, "garbage": "garbage", "nobody": ""}
    token = tokens.get(of) if of in tokens else await service_token(stack, of)
    said = {**CLIENT, **({"client-voucher": token} if token else {})}
    user_id = await log_in(stack.targets["auth"], tenant, PASSWORD, said)
    assert await newest_session(stack, user_id) == PEER


SAID = {
    "a client": (CLIENT, ("192.0.2.1", "Browser")),
    "no device": ({"client-address": "2001:db8::1"}, ("2001:db8::1", "")),
    "no address": ({"client-device": "Browser"}, PEER),
    "what is no address": ({"client-address": "localhost", "client-device": "Browser"}, PEER),
    "an endless device": ({**CLIENT, "client-device": "x" * 5_000}, ("192.0.2.1", "x" * 300)),
}


@pytest.mark.parametrize(("said", "expected"), SAID.values(), ids=SAID)
async def test_the_gateway_speaks_for_clients(
    stack: Stack, tenant: Tenant, said: dict[str, str], expected: tuple[str, str]
) -> None:
    voucher = {"client-voucher": await service_token(stack, "gateway")}
    user_id = await log_in(stack.targets["auth"], tenant, PASSWORD, {**said, **voucher})
    assert await newest_session(stack, user_id) == expected


EMPTY = count(1)


def _empty(stack: Stack) -> str:
    """A database that no test has used yet."""
    return f"{stack.redis_url.rpartition('/')[0]}/{next(EMPTY)}"


@asynccontextmanager
async def strict(stack: Stack, **settings: str) -> AsyncIterator[str]:
    """Another auth with real limits, and counters of its own in another of Redis's databases."""
    own = {"ATTEMPTS_PER_PAIR": "2", "ATTEMPTS_PER_ADDRESS": "4", "ATTEMPTS_PER_ACCOUNT": "3", "DEEDS_PER_ADDRESS": "2"}
    own["ATTEMPT_PAUSE_SECONDS"] = "30"  # an attempt may take long here
    environment = {**stack.environment("auth"), **own, "REDIS_URL": _empty(stack), **settings}
    environment["MAIL_FOLDER"] = ""
    async with listening("services.auth", environment) as (_, target):
        yield target


async def outcome(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return "OK"


@pytest.mark.parametrize("redis", ["up", "away"])
async def test_guessing_is_slowed_down_whether_or_not_there_is_such_a_user(
    stack: Stack, tenant: Tenant, redis: str
) -> None:
    nobody = Tenant(tenant.organization_id, "", f"{uuid4()}@example.org", PASSWORD, "")
    settings = {} if redis == "up" else {"REDIS_URL": "redis://127.0.0.1:1"}
    async with strict(stack, **settings) as target:
        for whom in (tenant, nobody):
            tried = [await outcome(log_in(target, whom, "not this one, no", {})) for _ in range(2)]
            assert tried == ["CREDENTIALS_INVALID"] * 2
        for whom in (tenant, nobody):
            assert await outcome(log_in(target, whom, PASSWORD, {})) == "TOO_MANY_ATTEMPTS"


async def test_clients_of_one_gateway_do_not_hold_one_another_up(stack: Stack, tenant: Tenant) -> None:
    async with strict(stack) as target:
        voucher = {"client-voucher": await service_token(stack, "gateway")}
        one, other = ({"client-address": address, **voucher} for address in ("192.0.2.1", "192.0.2.2"))
        for _ in range(2):
            assert await outcome(log_in(target, tenant, "not this one, no", one)) == "CREDENTIALS_INVALID"
        assert await outcome(log_in(target, tenant, PASSWORD, one)) == "TOO_MANY_ATTEMPTS"
        assert await outcome(log_in(target, tenant, PASSWORD, other)) == "OK"


async def test_registrations_of_one_address_are_few(stack: Stack) -> None:
    async with strict(stack) as target, grpc.aio.insecure_channel(target) as channel:
        requests = [
            pb.RegisterRequest(
                email=f"{uuid4()}@example.org", password=PASSWORD, display_name="Ada", organization_name="Works"
            )
            for _ in range(3)
        ]
        outcomes = [await outcome(AuthServiceStub(channel).Register(request)) for request in requests]
    assert outcomes == ["OK", "OK", "TOO_MANY_ATTEMPTS"]
