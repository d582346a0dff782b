"""Verifying callers: what is remembered, for how long, and when keys are asked for again."""

import time
from typing import Any
from uuid import uuid4

import jwt
import pytest

from services.auth.tokens import Grant, SigningKey, Tokens
from services.runtime.caller import (
    AUDIENCE,
    CACHE_SECONDS,
    ISSUER,
    Principal,
    PublicKeys,
    Verifier,
    bearer,
    parse_key_set,
)
from services.runtime.errors import PermissionMissing, TokenExpired, TokenInvalid, TokenMissing

ORGANIZATION = uuid4()
GRANT = Grant("someone", "user", frozenset({"agents:*", "graph:read"}), ORGANIZATION, "session")


class Authority:
    """Keys that a verifier asks for, and how often it did."""

    def __init__(self) -> None:
        self.now = time.time()
        self.keys = [SigningKey.generate()]
        self.asked = 0
        self.looked_up = 0

    def token(self, lifetime: int = 600) -> str:
        return Tokens(self.keys, lifetime).issue(GRANT).token

    async def public(self) -> PublicKeys:
        self.asked += 1
        return parse_key_set(Tokens(self.keys, 600).key_set())

    async def api_key(self, key: str) -> Principal:
        self.looked_up += 1
        return Principal(key, "api_key", ORGANIZATION, frozenset(), "", self.now + 3_600)

    def verifier(self) -> Verifier:
        return Verifier(self.public, self.api_key, clock=lambda: self.now)


@pytest.fixture
def authority() -> Authority:
    return Authority()


async def test_a_token_becomes_its_principal(authority: Authority) -> None:
    principal = await authority.verifier().verify(authority.token())
    assert (principal.subject, principal.organization_id, principal.session_id) == ("someone", ORGANIZATION, "session")
    assert principal.allows("agents:publish")
    assert principal.allows("graph:read")
    assert not principal.allows("graph:write")
    with pytest.raises(PermissionMissing):
        principal.require("knowledge:read")


async def test_keys_are_fetched_once_and_again_for_an_unknown_one(authority: Authority) -> None:
    verifier = authority.verifier()
    for _ in range(3):
        await verifier.verify(authority.token())
    assert authority.asked == 1
    authority.keys.append(SigningKey.generate())
    authority.now += 2
    await verifier.verify(authority.token())
    assert authority.asked == 2


async def test_unknown_keys_do_not_make_it_ask_all_the_time(authority: Authority) -> None:
    verifier = authority.verifier()
    stranger = Authority()
    for _ in range(5):
        with pytest.raises(TokenInvalid):
            await verifier.verify(stranger.token())
    assert authority.asked == 1


async def test_a_verified_key_is_remembered_for_thirty_seconds(authority: Authority) -> None:
    verifier = authority.verifier()
    for seconds in (0, CACHE_SECONDS - 1, 2):
        authority.now += seconds
        await verifier.verify("nrctmy_live_x")
    assert authority.looked_up == 2


async def test_nothing_is_remembered_past_its_end(authority: Authority) -> None:
    verifier = authority.verifier()
    token = authority.token(lifetime=1)
    await verifier.verify(token)
    authority.now += 5
    time.sleep(1.1)  # noqa: ASYNC251 - PyJWT has a clock of its own
    with pytest.raises(TokenExpired):
        await verifier.verify(token)


def _claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        **{"iss": ISSUER, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 60, "jti": "1"},
        **{"sub": "someone", "typ": "user", "scope": "agents:read", "org": str(ORGANIZATION)},
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


BAD_CLAIMS = {
    "another issuer": {"iss": "other"},
    "another audience": {"aud": "other"},
    "several audiences": {"aud": [AUDIENCE, "other"]},
    "not yet": {"nbf": int(time.time()) + 3_600},
    "no end": {"exp": None},
    "no subject": {"sub": None},
    "no scope": {"scope": None},
    "no id": {"jti": None},
    "an organization that is none": {"org": "../other"},
}


@pytest.mark.parametrize("changes", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
async def test_claims_must_be_right(authority: Authority, changes: dict[str, Any]) -> None:
    key = authority.keys[0]
    token = jwt.encode(_claims(**changes), key.private, "EdDSA", headers={"kid": key.key_id})
    with pytest.raises(TokenInvalid):
        await authority.verifier().verify(token)


async def test_the_good_claims_of_that_table_are_good(authority: Authority) -> None:
    key = authority.keys[0]
    token = jwt.encode(_claims(), key.private, "EdDSA", headers={"kid": key.key_id})
    assert (await authority.verifier().verify(token)).subject == "someone"


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_no_token(header: str | None) -> None:
    with pytest.raises(TokenMissing):
        bearer(header)


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer ", f"Bearer {'x' * 10_000}"])
def test_what_is_no_bearer_token_is_invalid(header: str) -> None:
    with pytest.raises(TokenInvalid):
        bearer(header)
