"""The public keys at the gateway, for verifiers that are not ours."""

import json

import httpx
import jwt

from deploy.local.stack import Stack
from gateway.key_set import FRESH_SECONDS, STALE_SECONDS, KeySetPage
from gateway.remote import open_channels, services_on
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.runtime.channels import no_token
from tests.conftest import Connect, Tenant
from tests.gateway.running import gateway, listening

PATH = "/.well-known/jwks.json"
NOWHERE = "127.0.0.1:9"


async def test_a_stranger_verifies_tokens_with_it(http: httpx.AsyncClient, connect_as: Connect, tenant: Tenant) -> None:
    answer = await http.get(PATH, headers={"authorization": "nonsense"})
    assert answer.status_code == 200
    key = jwt.PyJWKSet.from_dict(answer.json())[jwt.get_unverified_header(tenant.token)["kid"]]
    claims = jwt.decode(tenant.token, key, ["EdDSA"], audience="neurectomy", issuer="neurectomy")
    assert claims["sub"] == tenant.user_id
    assert all("d" not in key for key in answer.json()["keys"])


async def test_it_may_be_kept_for_a_minute_and_is_only_read(http: httpx.AsyncClient) -> None:
    answer = await http.head(PATH)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=60")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert (await http.post(PATH)).status_code == 405


async def test_where_auth_is_away_the_answer_says_so(stack: Stack) -> None:
    async with gateway(stack, AUTH_TARGET=NOWHERE) as one:
        answer = await one.client.http.get(PATH)
    assert (answer.status_code, answer.headers["cache-control"]) == (503, "no-store")
    (error,) = answer.json()["errors"]
    assert (error["extensions"]["code"], error["extensions"]["service"]) == ("SERVICE_UNAVAILABLE", "auth")


async def test_what_was_read_outlives_auth_for_as_long_as_a_token(stack: Stack, connect_as: Connect) -> None:
    now = 0.0
    targets = dict.fromkeys(("agent_store", "vector_search", "graph", "traces"), NOWHERE)
    async with (
        listening("services.auth", stack.environment("auth")) as (process, address),
        open_channels({**targets, "auth": address}, None) as channels,
    ):
        page = KeySetPage(services_on(channels, no_token).auth, clock=lambda: now)
        known = await page.json()
        assert json.loads(known) == json.loads(
            (await connect_as(AuthServiceStub).GetKeySet(auth_pb2.GetKeySetRequest())).json
        )
        process.kill()
        await process.wait()
        now = FRESH_SECONDS
        assert await page.json() == known
        now = STALE_SECONDS
        request = httpx.Request("GET", PATH)
        assert (await page.answer(request)).status_code == 200  # type: ignore[arg-type]  # which it does not read
        now = STALE_SECONDS + 1
        assert (await page.answer(request)).status_code == 503  # type: ignore[arg-type]
