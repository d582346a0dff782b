"""The auth service over real gRPC: what each RPC answers, and each way in which it refuses."""

import asyncio
import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from neurectomy.auth.v1 import api_keys_pb2 as keys
from neurectomy.auth.v1 import auth_pb2 as pb
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from tests.conftest import Connect, Tenant, reason

REGISTER = {
    "email": "new@example.org",
    "password": "long enough for us",
    "display_name": "New",
    "organization_name": "New",
}


async def test_a_registered_user_is_logged_in_as_owner(connect_as: Connect, tenant: Tenant) -> None:
    me = await connect_as(AuthServiceStub, tenant).GetCurrentUser(pb.GetCurrentUserRequest())
    assert (me.user.id, me.user.email, me.organization.id) == (
        tenant.user_id,
        tenant.email,
        str(tenant.organization_id),
    )
    assert "agents:*" in me.permissions


async def test_log_in_ignores_the_case_of_the_address(connect_as: Connect, tenant: Tenant) -> None:
    request = pb.LogInRequest(email=tenant.email.upper(), password=tenant.password)
    answer = await connect_as(AuthServiceStub).LogIn(request)
    assert answer.user.id == tenant.user_id
    assert answer.access_token.expire_time.seconds == pytest.approx(time.time() + 600, abs=30)


BAD_REGISTRATIONS = {
    "no e-mail": ({"email": "nobody"}, "INVALID_FIELDS"),
    "two e-mails": ({"email": "a@b.org c@d.org"}, "INVALID_FIELDS"),
    "endless e-mail": ({"email": f"{'a' * 300}@example.org"}, "INVALID_FIELDS"),
    "NUL in the name": ({"display_name": "a\0b"}, "INVALID_FIELDS"),
    "no name": ({"display_name": ""}, "INVALID_FIELDS"),
    "no organization": ({"organization_name": ""}, "INVALID_FIELDS"),
    "short password": ({"password": "short"}, "INVALID_FIELDS"),
    "endless password": ({"password": "x" * 257}, "INVALID_FIELDS"),
}


@pytest.mark.parametrize(("change", "expected"), BAD_REGISTRATIONS.values(), ids=BAD_REGISTRATIONS)
async def test_register_refuses(connect_as: Connect, change: dict[str, str], expected: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(AuthServiceStub).Register(pb.RegisterRequest(**(REGISTER | change)))
    assert reason(caught.value) == expected


async def test_an_address_registers_once_whatever_its_case(connect_as: Connect, tenant: Tenant) -> None:
    request = pb.RegisterRequest(**(REGISTER | {"email": tenant.email.upper()}))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(AuthServiceStub).Register(request)
    assert reason(caught.value) == "EMAIL_TAKEN"


async def test_log_in_refuses_all_wrong_secrets_in_the_same_words(connect_as: Connect, tenant: Tenant) -> None:
    attempts = [
        pb.LogInRequest(email=tenant.email, password="wrong and long enough"),
        pb.LogInRequest(email="nobody@example.org", password=tenant.password),
        pb.LogInRequest(email=tenant.email, password=tenant.password, organization_id="no uuid"),
        pb.LogInRequest(email=tenant.email, password=tenant.password, organization_id=tenant.user_id),
        pb.LogInRequest(email="", password=""),
    ]
    seen = set()
    for attempt in attempts:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await connect_as(AuthServiceStub).LogIn(attempt)
        seen.add((caught.value.code(), caught.value.details(), reason(caught.value)))
    assert len(seen) == 1
    assert seen.pop()[2] == "CREDENTIALS_INVALID"


async def test_verify_says_whom_a_token_stands_for(connect_as: Connect, tenant: Tenant) -> None:
    principal = (await connect_as(AuthServiceStub).VerifyToken(pb.VerifyTokenRequest(token=tenant.token))).principal
    assert (principal.subject, principal.subject_type) == (tenant.user_id, pb.SUBJECT_TYPE_USER)
    assert principal.organization_id == str(tenant.organization_id)


def _claims(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def _forged(token: str) -> dict[str, str]:
    header, _, signature = token.split(".")
    claims = _claims(token)
    kid = jwt.get_unverified_header(token)["kid"]
    stranger = Ed25519PrivateKey.generate()
    other = {**claims, "org": "01980000-0000-7000-8000-000000000001"}
    body = base64.urlsafe_b64encode(json.dumps(other).encode()).rstrip(b"=").decode()
    return {
        "alg none": jwt.encode(claims, "", algorithm="none", headers={"kid": kid}),
        "HS256 with a guess": jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": kid}),
        "a stranger's key": jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": kid}),
        "an unknown key": jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": "other"}),
        "another organization": f"{header}.{body}.{signature}",
        "truncated": token[:-5],
        "noise": "no token",
        "empty": "",
        "API key with a wrong checksum": f"nrctmy_live_{'a' * 43}{'0' * 8}",
    }


FORGERIES = list(_forged(jwt.encode({"sub": "x"}, Ed25519PrivateKey.generate(), "EdDSA", headers={"kid": "x"})))


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forged_tokens_are_refused(connect_as: Connect, tenant: Tenant, forgery: str) -> None:
    token = _forged(tenant.token)[forgery]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(AuthServiceStub).VerifyToken(pb.VerifyTokenRequest(token=token))
    assert reason(caught.value) == "TOKEN_INVALID"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(AuthServiceStub, token).GetCurrentUser(pb.GetCurrentUserRequest())
    assert reason(caught.value) in {"TOKEN_INVALID", "TOKEN_MISSING"}


async def test_the_key_set_verifies_tokens_and_holds_no_private_half(connect_as: Connect, tenant: Tenant) -> None:
    answer = await connect_as(AuthServiceStub).GetKeySet(pb.GetKeySetRequest())
    keys = json.loads(answer.json)["keys"]
    assert all("d" not in key for key in keys)
    keyed = jwt.PyJWKSet.from_json(answer.json)[jwt.get_unverified_header(tenant.token)["kid"]]
    assert jwt.decode(tenant.token, keyed, ["EdDSA"], audience="neurectomy", issuer="neurectomy")["sub"]


async def test_an_api_key_stands_for_its_scopes_only(connect_as: Connect, tenant: Tenant) -> None:
    request = keys.CreateApiKeyRequest(name="script", scopes=["members:read"])
    key = (await connect_as(ApiKeysServiceStub, tenant).CreateApiKey(request)).key
    users = await connect_as(AuthServiceStub, key).BatchGetUsers(pb.BatchGetUsersRequest(ids=[tenant.user_id]))
    assert [(user.id, user.email) for user in users.users] == [(tenant.user_id, "")]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(ApiKeysServiceStub, key).CreateApiKey(keys.CreateApiKeyRequest(name="another"))
    assert reason(caught.value) == "PERMISSION_MISSING"


async def test_an_api_key_cannot_be_made_beyond_its_makers_permissions(connect_as: Connect, tenant: Tenant) -> None:
    maker = connect_as(ApiKeysServiceStub, tenant)
    for scopes in (["traces:read"], ["events:read"], ["installation:keys"]):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await maker.CreateApiKey(keys.CreateApiKeyRequest(name="script", scopes=scopes))
        assert reason(caught.value) == "PERMISSION_MISSING"


async def test_an_api_key_ends(connect_as: Connect, tenant: Tenant) -> None:
    request = keys.CreateApiKeyRequest(name="short-lived")
    request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=1))
    key = (await connect_as(ApiKeysServiceStub, tenant).CreateApiKey(request)).key
    request.expire_time.FromDatetime(datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(ApiKeysServiceStub, tenant).CreateApiKey(request)
    assert reason(caught.value) == "INVALID_FIELDS"
    await asyncio.sleep(1.1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(AuthServiceStub).VerifyToken(pb.VerifyTokenRequest(token=key))
    assert reason(caught.value) == "TOKEN_EXPIRED"


async def test_users_of_other_organizations_are_not_there(
    connect_as: Connect, tenant: Tenant, other_tenant: Tenant
) -> None:
    request = pb.BatchGetUsersRequest(ids=[tenant.user_id, other_tenant.user_id, "no uuid"])
    users = (await connect_as(AuthServiceStub, tenant).BatchGetUsers(request)).users
    assert [user.id for user in users] == [tenant.user_id]


async def test_the_anonymous_reader_reads_only(connect_as: Connect) -> None:
    answer = await connect_as(AuthServiceStub).CreateAnonymousToken(pb.CreateAnonymousTokenRequest())
    claims = _claims(answer.access_token.token)
    assert all(permission.endswith(":read") for permission in claims["scope"].split())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(AuthServiceStub, answer.access_token.token).GetCurrentUser(pb.GetCurrentUserRequest())
    assert reason(caught.value) == "USER_NOT_FOUND"


async def test_a_services_secret_is_checked(connect_as: Connect) -> None:
    for service in ("graph", "nobody"):
        request = pb.CreateServiceTokenRequest(service=service, secret="guess")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await connect_as(AuthServiceStub).CreateServiceToken(request)
        assert reason(caught.value) == "CREDENTIALS_INVALID"


async def test_without_a_token_there_is_a_clear_answer(connect_as: Connect) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect_as(AuthServiceStub).GetCurrentUser(pb.GetCurrentUserRequest())
    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
