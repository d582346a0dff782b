"""Tokens to the letter: right claims, one spelling, and nothing in the header that is not ours."""

import base64
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from services.auth.tokens import SigningKey
from services.runtime.errors import TokenExpired, TokenInvalid
from services.runtime.verification import LEEWAY_SECONDS, MAX_LIFETIME_SECONDS, take_apart, verified
from tests.services.runtime.authority import ORGANIZATION, SESSION, USER, Authority

HOUR = 3_600


def read(token: str, authority: Authority) -> Any:
    key = authority.keys[0].private.public_key()
    return verified(take_apart(token), key, clock=lambda: authority.now)


def encoded(data: bytes | str) -> str:
    raw = data if isinstance(data, bytes) else data.encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(key: SigningKey, header: str, claims: str) -> str:
    """A token of any header and claims, as text, with a right signature."""
    message = f"{encoded(header)}.{encoded(claims)}"
    return f"{message}.{encoded(key.private.sign(message.encode()))}"


def test_what_auth_issues_is_good() -> None:
    authority = Authority()
    principal = read(authority.token(), authority)
    assert (principal.subject, principal.organization_id, principal.session_id) == (USER, ORGANIZATION, SESSION)
    assert (principal.version, principal.permissions) == (3, {"agents:*", "graph:read"})
    assert read(authority.signed(), authority).subject == USER
    assert read(authority.signed(unheard_of=1), authority).subject == USER


NOW = int(Authority().now)
BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "other"},
    "another audience": {"aud": "other"},
    "several audiences": {"aud": ["neurectomy", "other"]},
    "not yet": {"nbf": NOW + HOUR},
    "issued in the future": {"iat": NOW + 30, "exp": NOW + HOUR},
    "ends before it begins": {"exp": NOW - 10},
    "lives too long": {"exp": NOW + MAX_LIFETIME_SECONDS + 60},
    "ends at no number": {"exp": "1"},
    "ends at true": {"exp": True},
    "begins at true": {"nbf": True},
    "longer than a token may be": {"more": "x" * 8_000},
    "ends at a fraction": {"exp": NOW + 0.5},
    "ends beyond numbers": {"exp": 10**400},
    **{f"no {name}": {name: None} for name in ("iss", "aud", "exp", "nbf", "iat", "sub", "jti", "scope", "typ")},
    **{f"a user without {name}": {name: None} for name in ("org", "sid", "ver")},
    "an organization that is none": {"org": "../other"},
    "another spelling of the organization": {"org": str(ORGANIZATION).upper()},
    "braces around the organization": {"org": f"{{{ORGANIZATION}}}"},
    "a session that is none": {"sid": "x"},
    "a subject that is none": {"sub": "service:graph"},
    "a service with an organization": {"typ": "service"},
    "an API key": {"typ": "api_key"},
    "an unknown subject": {"typ": "root"},
    "a list of scopes": {"scope": ["agents:*"]},
    "a version of true": {"ver": True},
}


@pytest.mark.parametrize("changes", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_claims_must_be_right(changes: dict[str, Any]) -> None:
    authority = Authority()
    authority.now = NOW
    with pytest.raises(TokenInvalid):
        read(authority.signed(**changes), authority)


def test_the_end_is_the_end_and_the_leeway_is_only_for_the_beginning() -> None:
    authority = Authority()
    token = authority.token(lifetime=10)
    authority.now = int(authority.now) + 9.9
    assert read(token, authority)
    authority.now += 0.1
    with pytest.raises(TokenExpired):
        read(token, authority)
    authority.now -= 10 + LEEWAY_SECONDS
    assert read(token, authority)
    authority.now -= 0.1
    with pytest.raises(TokenInvalid):
        read(token, authority)


def _not_canonical(token: str) -> str:
    """The last character of 64 bytes has four bits over, which decoders ignore."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "padded": lambda token: f"{token}==",
    "padded in the middle": lambda token: token.replace(".", "=.", 1),
    "not canonical": _not_canonical,
    "the other alphabet": lambda token: token[:-1] + "+",
    "white space at its end": lambda token: f"{token}\n",
    "white space in it": lambda token: token.replace(".", ". ", 1),
    "two parts": lambda token: token.rpartition(".")[0],
    "four parts": lambda token: f"{token}.{token}",
    "five parts, as if encrypted": lambda token: f"{token}.e30.e30",
    "no signature": lambda token: f"{token.rpartition('.')[0]}.",
    "half a signature": lambda token: token[:-43],
    "a signature and more": lambda token: f"{token}AAAA",
    "not ASCII": lambda token: f"{token}ö",
    "NUL": lambda token: f"{token}\0",
    "half a pair": lambda token: f"{token}\ud800",
    "dots": lambda token: "." * 8_192,
    "too long": lambda token: f"{token}{'A' * 8_192}",
    "nothing": lambda token: "",
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
def test_a_token_has_one_spelling(spelled: Callable[[str], str]) -> None:
    authority = Authority()
    token = authority.token()
    assert read(token, authority)
    with pytest.raises(TokenInvalid):
        read(spelled(token), authority)


GOOD = {"alg": "EdDSA", "kid": "1", "typ": "JWT"}
HEADERS: dict[str, str] = {
    **{f"{name} in it": json.dumps({**GOOD, name: "x"}) for name in ("jku", "x5u", "jwk", "x5c", "crit", "b64", "cty")},
    **{f"without {name}": json.dumps({key: GOOD[key] for key in GOOD if key != name}) for name in GOOD},
    **{f"{name} as algorithm": json.dumps({**GOOD, "alg": name}) for name in ("none", "HS256", "eddsa", "Ed25519")},
    "a list of algorithms": json.dumps({**GOOD, "alg": ["EdDSA"]}),
    "a number as key": json.dumps({**GOOD, "kid": 1}),
    "another type": json.dumps({**GOOD, "typ": "at+jwt"}),
    "twice": '{"alg":"none","alg":"EdDSA","kid":"1","typ":"JWT"}',
    "no object": '"EdDSA"',
    "no JSON": "{",
    "deep": "[" * 6_000,
    "endless digits": "1" * 6_000,
    "NaN": json.dumps({**GOOD, "kid": float("nan")}),
    "empty": "",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_the_header_is_ours_or_the_token_is_not(header: str) -> None:
    authority = Authority()
    token = signed(authority.keys[0], header, "{}")
    with pytest.raises(TokenInvalid):
        take_apart(token)
    assert take_apart(signed(authority.keys[0], json.dumps(GOOD), "{}")).key_id == "1"


BAD_PAYLOADS = {
    "a claim twice": lambda claims: claims[:-1] + f',"org":"{UUID(int=1)}"}}',
    "the same claim twice": lambda claims: claims[:-1] + f',"org":"{ORGANIZATION}"}}',
    "a member twice further down": lambda claims: claims[:-1] + ',"more":{"a":1,"a":1}}',
    "a number that JSON has not": lambda claims: claims[:-1] + ',"more":Infinity}',
    "no object": lambda claims: f"[{claims}]",
    "UTF-16": lambda claims: claims.encode("utf-16"),
    "deep": lambda claims: claims[:-1] + ',"more":' + "[" * 2_000 + "]" * 2_000 + "}",
    "empty": lambda claims: "",
}


@pytest.mark.parametrize("change", BAD_PAYLOADS.values(), ids=BAD_PAYLOADS)
def test_claims_are_plain_json(change: Callable[[str], Any]) -> None:
    authority = Authority()
    claims = take_apart(authority.signed()).claims.decode()
    header = json.dumps({**GOOD, "kid": authority.keys[0].key_id})
    assert read(signed(authority.keys[0], header, claims), authority)
    with pytest.raises(TokenInvalid):
        read(signed(authority.keys[0], header, change(claims)), authority)
