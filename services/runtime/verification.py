"""Reading an access token to the letter: what auth would not have written is refused, even where it is signed."""

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Never
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.runtime.caller import MAX_TOKEN, Principal
from services.runtime.errors import TokenExpired, TokenInvalid

ISSUER = "neurectomy"
AUDIENCE = "neurectomy"
ALGORITHM = "EdDSA"
LEEWAY_SECONDS = 5
"""How far the clock of whoever signed may be ahead of ours. It lengthens no token: there is none for `exp`."""
MAX_LIFETIME_SECONDS = 3_600
"""What auth may be set to at most, and for how long revocations are kept."""

PublicKeys = Mapping[str, Ed25519PublicKey]
"""By key id."""
Clock = Callable[[], float]

REQUIRED: Mapping[str, type] = {
    **dict.fromkeys(("iss", "aud", "sub", "jti", "scope", "typ"), str),
    **dict.fromkeys(("exp", "nbf", "iat"), int),
}
OPTIONAL: Mapping[str, type] = {"org": str, "sid": str, "ver": int}
OF_SUBJECT = {"user": {"org", "sid", "ver"}, "anonymous": {"org"}, "service": set[str]()}
"""Type of subject -> the optional claims that its tokens have; API keys are no tokens."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A token that is taken apart, and of which nothing is proven."""

    key_id: str
    message: bytes
    claims: bytes
    signature: bytes


def take_apart(token: str) -> Signed:
    """Raises TokenInvalid unless it is spelled as auth spells tokens, with a header of `alg`, `kid` and `typ` only."""
    if len(token) > MAX_TOKEN:
        raise TokenInvalid
    try:
        header, claims, signature = (_decoded(part) for part in token.split(".", 3))
        return Signed(_key_id(_object(header)), token[: token.rindex(".")].encode(), claims, signature)
    except (ValueError, RecursionError) as error:
        raise TokenInvalid from error


def verified(signed: Signed, key: Ed25519PublicKey, clock: Clock = time.time) -> Principal:
    """Whom a token stands for that is signed with the key and good now. Raises TokenInvalid and TokenExpired."""
    try:
        key.verify(signed.signature, signed.message)
        claims = _object(signed.claims)
        _check_types(claims)
        _check_times(claims, clock())
        return _principal(claims)
    except (InvalidSignature, ValueError, RecursionError) as error:
        raise TokenInvalid from error


def parse_key_set(text: str) -> dict[str, Ed25519PublicKey]:
    """The Ed25519 public keys of an RFC 7517 key set, by key id."""
    keys: Sequence[Mapping[str, str]] = json.loads(text)["keys"]
    return {
        key["kid"]: Ed25519PublicKey.from_public_bytes(_decoded(key["x"]))
        for key in keys
        if (key.get("kty"), key.get("crv")) == ("OKP", "Ed25519")
    }


def _decoded(part: str) -> bytes:
    """Python's decoder skips what it does not know, and ignores the bits that are over; hence the way back."""
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != part:
        raise ValueError("this is not canonical base64url without padding")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_number(text: str) -> Never:
    raise ValueError(f"JSON has no {text}")


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)


def _object(data: bytes) -> dict[str, Any]:
    decoded = _JSON.decode(data.decode())
    if not isinstance(decoded, dict):
        raise ValueError("this is no JSON object")
    return decoded


def _key_id(header: dict[str, Any]) -> str:
    key_id = header.pop("kid", None)
    if header != {"alg": ALGORITHM, "typ": "JWT"} or not isinstance(key_id, str):
        raise ValueError("the header is not ours")
    return key_id


def _check_types(claims: Mapping[str, Any]) -> None:
    """`type` and no isinstance, by which `true` would be a number."""
    wrong = [name for name, kind in REQUIRED.items() if type(claims.get(name)) is not kind]
    wrong += [name for name, kind in OPTIONAL.items() if name in claims and type(claims[name]) is not kind]
    if wrong or claims.keys() & OPTIONAL.keys() != OF_SUBJECT.get(claims["typ"]):
        raise ValueError("claims are missing, too many, or of another type")
    if (claims["iss"], claims["aud"]) != (ISSUER, AUDIENCE):
        raise ValueError("the token is another's, or for another")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    if not max(claims["nbf"], claims["iat"]) <= now + LEEWAY_SECONDS:
        raise ValueError("the token is not valid yet")
    if not 0 < claims["exp"] - claims["iat"] <= MAX_LIFETIME_SECONDS:
        raise ValueError("the token lives too long")
    if now >= claims["exp"]:
        raise TokenExpired


def _principal(claims: Mapping[str, Any]) -> Principal:
    organization = claims.get("org")
    if claims["typ"] == "user":
        _uuid(claims["sub"])
        _uuid(claims["sid"])
    return Principal(
        subject=claims["sub"],
        subject_type=claims["typ"],
        organization_id=_uuid(organization) if organization is not None else None,
        permissions=frozenset(claims["scope"].split()),
        session_id=claims.get("sid", ""),
        expires=float(claims["exp"]),
        version=claims.get("ver", 0),
    )


def _uuid(text: str) -> UUID:
    """Raises ValueError also for the other spellings that Python takes for a UUID."""
    found = UUID(text)
    if str(found) != text:
        raise ValueError("this is not how a UUID is written")
    return found
