"""Forged tokens at every door: each is refused, with the reason, and none of them breaks anything."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.local.stack import Stack
from services.auth.revocations import Revocations
from services.auth.sealing import Keyring
from services.auth.signing_keys import SigningKeys
from services.auth.tokens import SigningKey, Tokens
from services.runtime import postgres
from tests.conftest import Connect, Tenant, register
from tests.system.doors import DOORS, OK

INVALID, EXPIRED, MISSING = "TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_MISSING"
CLOSED = "4403"
TRANSPORTS: dict[str, set[str]] = {
    "one megabyte": {"RESOURCE_EXHAUSTED", "HTTP 400", "HTTP 431"},
    "as long as may be": {"RESOURCE_EXHAUSTED"},  # from 8 KiB of metadata on gRPC itself refuses now and then
    "NUL": {"HTTP 400"},
    "not ASCII": {"HTTP 400"},
    "half a pair": {"HTTP 400", "NOT PROTOBUF", "4400"},
}
"""What a transport itself does not carry."""


@dataclass(frozen=True, slots=True)
class Real:
    """A good token, and what the installation signs with."""

    token: str
    claims: dict[str, Any]
    key: SigningKey

    def signed(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Signed by the installation's own key, with more in its header, or other claims."""
        headers = {"kid": self.key.key_id, **(header or {})}
        return jwt.encode({**self.claims, **claims}, self.key.private, "EdDSA", headers=headers)

    def by(self, key: Any, algorithm: str, **header: Any) -> str:
        """Signed by another's key."""
        return jwt.encode(self.claims, key, algorithm, headers={"kid": self.key.key_id, **header})

    def of_text(self, claims: str) -> str:
        """Signed by the installation's own key, as it is written."""
        header = encoded(json.dumps({"alg": "EdDSA", "kid": self.key.key_id, "typ": "JWT"}))
        message = f"{header}.{encoded(claims)}"
        return f"{message}.{encoded(self.key.private.sign(message.encode()))}"

    @property
    def public(self) -> bytes:
        """What anyone can have from the key set."""
        return self.key.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def encoded(data: bytes | str) -> str:
    raw = data if isinstance(data, bytes) else data.encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _swapped(real: Real, **claims: Any) -> str:
    header, _, signature = real.token.split(".")
    return f"{header}.{encoded(json.dumps({**real.claims, **claims}))}.{signature}"


def _not_canonical(token: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def _elsewhere(name: str, by_us: bool) -> Callable[[Real], str]:
    header = {name: ELSEWHERE[name]}
    return lambda real: real.signed(header) if by_us else real.by(STRANGER, "EdDSA", **header)


NONE = encoded('{"alg":"none"}')
STRANGER = Ed25519PrivateKey.generate()
STRANGERS_JWK = {**SigningKey("x", STRANGER).jwk(), "kid": "x"}
ELSEWHERE: dict[str, Any] = {
    "jku": "https://evil.example/jwks.json",
    "x5u": "https://evil.example/x.pem",
    "jwk": STRANGERS_JWK,
    "x5c": ["MIIB"],
    "crit": ["exp"],
}
"""Where a header may say that the key is to be found, or what must be understood in it."""
HOUR = 3_600

FORGERIES: dict[str, tuple[Callable[[Real], str], str]] = {
    "alg none": (lambda real: real.by("", "none"), INVALID),
    "alg none, unsigned": (lambda real: f"{NONE}.{real.token.split('.')[1]}.", INVALID),
    "HS256 with the public key": (lambda real: real.by(real.public, "HS256"), INVALID),
    "another's key under our kid": (lambda real: real.by(STRANGER, "EdDSA"), INVALID),
    "another kid": (lambda real: real.by(STRANGER, "EdDSA", kid=str(uuid4())), INVALID),
    "no kid": (lambda real: jwt.encode(real.claims, real.key.private, "EdDSA"), INVALID),
    "a path as kid": (lambda real: real.by(b"\0" * 32, "HS256", kid="../../../../dev/null"), INVALID),
    **{f"{name}, forged": (_elsewhere(name, by_us=False), INVALID) for name in ELSEWHERE},
    **{f"{name}, signed by us": (_elsewhere(name, by_us=True), INVALID) for name in ELSEWHERE},
    "expired": (lambda real: real.signed(iat=_now() - HOUR, nbf=_now() - HOUR, exp=_now() - 1), EXPIRED),
    "not yet valid": (lambda real: real.signed(nbf=_now() + 60), INVALID),
    "from the future": (lambda real: real.signed(iat=_now() + 60, exp=_now() + 600), INVALID),
    "for ever": (lambda real: real.signed(exp=_now() + 10 * HOUR), INVALID),
    "another audience": (lambda real: real.signed(aud="other"), INVALID),
    "two audiences": (lambda real: real.signed(aud=["neurectomy", "other"]), INVALID),
    "another issuer": (lambda real: real.signed(iss="other"), INVALID),
    "another organization": (lambda real: _swapped(real, org=str(uuid4())), INVALID),
    "more permissions": (lambda real: _swapped(real, scope="events:read traces:read"), INVALID),
    "truncated": (lambda real: real.token[:-5], INVALID),
    "without its signature": (lambda real: real.token.rpartition(".")[0] + ".", INVALID),
    "padded": (lambda real: f"{real.token}==", INVALID),
    "not canonical": (lambda real: _not_canonical(real.token), INVALID),
    "four parts": (lambda real: f"{real.token}.e30", INVALID),
    "a claim twice": (lambda real: real.of_text(f'{json.dumps(real.claims)[:-1]}, "org": "{uuid4()}"}}'), INVALID),
    "deep": (lambda real: real.of_text("[" * 4_000), INVALID),
    "a deep header": (lambda real: f"{encoded('[' * 5_000)}.e30.AAAA", INVALID),
    "one megabyte": (lambda real: real.token + "A" * 1_000_000, INVALID),
    "as long as may be": (lambda real: "A." * 4_096, INVALID),
    "noise": (lambda real: "noise", INVALID),
    "empty": (lambda real: "", INVALID),
    "not ASCII": (lambda real: f"{real.token}ö", INVALID),
    "NUL": (lambda real: f"{real.token}\0", INVALID),
    "half a pair": (lambda real: f"{real.token}\ud800", INVALID),
    "an API key that is none": (lambda real: f"nrctmy_live_{'a' * 43}{'0' * 8}", INVALID),
}


def _now() -> int:
    return int(time.time())


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def real(stack: Stack, connect_as: Connect) -> Real:
    """The installation's own key, as only someone with its database and its secret has it."""
    tenant = await register(connect_as)
    async with postgres.connect(stack.database_url("auth"), init=postgres.jsonb_as_objects) as database:
        tokens, keyring = Tokens([], 600), Keyring(stack.state.secret("encryption"))
        await SigningKeys(database, keyring, tokens, Revocations(600)).reload()
        key = tokens.signing()
    return Real(tenant.token, jwt.decode(tenant.token, options={"verify_signature": False}), key)


@pytest.mark.parametrize("door", DOORS)
async def test_what_the_forgeries_are_made_of_opens_every_door(stack: Stack, real: Real, door: str) -> None:
    for token in (real.token, real.signed(), real.of_text(json.dumps(real.claims))):
        assert await DOORS[door](stack, token) == OK


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_token_is_refused(stack: Stack, real: Real, forgery: str, door: str) -> None:
    make, reason = FORGERIES[forgery]
    expected = {CLOSED} if door == "gateway by WebSocket" else {reason}
    said = await DOORS[door](stack, make(real))
    assert said in expected | TRANSPORTS.get(forgery, set()) or (said.startswith("NOT GRPC") and forgery in TRANSPORTS)


async def test_another_organizations_good_token_reaches_nothing_of_ours(
    stack: Stack, connect_as: Connect, tenant: Tenant, other_tenant: Tenant
) -> None:
    claims = [jwt.decode(each.token, options={"verify_signature": False}) for each in (tenant, other_tenant)]
    assert claims[0]["org"] != claims[1]["org"]
    header, payload, _ = tenant.token.split(".")
    signature = other_tenant.token.rpartition(".")[2]
    for door in DOORS.values():
        assert await door(stack, f"{header}.{payload}.{signature}") in {INVALID, CLOSED}
