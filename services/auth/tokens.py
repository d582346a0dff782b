"""Access tokens: EdDSA JWTs that live for minutes and say all that a verifier needs."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import OKPAlgorithm
from uuid_utils.compat import uuid7

from services.runtime.verification import ALGORITHM, AUDIENCE, ISSUER


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says of its bearer."""

    subject: str
    subject_type: str
    permissions: frozenset[str]
    organization_id: UUID | None = None
    session_id: str = ""
    version: int = 0
    """The membership's version: a token of an older one is revoked with each change of the role."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token and its end in seconds since 1970."""

    token: str
    expires: int


class SigningKey:
    """One Ed25519 key pair, and from when on it signs, in seconds since 1970."""

    def __init__(self, key_id: str, private: Ed25519PrivateKey, signs_at: float = 0.0) -> None:
        self.key_id = key_id
        self.private = private
        self.signs_at = signs_at

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key pair."""
        return cls(str(uuid7()), Ed25519PrivateKey.generate())

    @classmethod
    def of_bytes(cls, key_id: str, private: bytes, signs_at: float) -> "SigningKey":
        """The key pair whose private half `private_bytes` returned."""
        return cls(key_id, Ed25519PrivateKey.from_private_bytes(private), signs_at)

    @classmethod
    def of_pem(cls, key_id: str, pem: str) -> "SigningKey":
        """The key pair of a PKCS 8 file that is not encrypted, as keys were kept once."""
        private = load_pem_private_key(pem.encode(), None)
        if not isinstance(private, Ed25519PrivateKey):
            raise TypeError("the stored signing key is not an Ed25519 key")
        return cls(key_id, private)

    def private_bytes(self) -> bytes:
        """32 bytes, to be sealed."""
        return self.private.private_bytes_raw()

    def jwk(self) -> dict[str, Any]:
        """The public half, as an RFC 7517 key."""
        public = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.key_id, "alg": ALGORITHM, "use": "sig"}


class Tokens:
    """Issues tokens with the last of the keys whose time has come, and publishes all of them."""

    def __init__(self, keys: Sequence[SigningKey], lifetime: int, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._lifetime = lifetime
        self._clock = clock

    def use(self, keys: Sequence[SigningKey]) -> None:
        """From now on these, in the order in which they sign."""
        self._keys = keys

    def issue(self, grant: Grant) -> IssuedToken:
        """A token that is good from now on."""
        now = int(self._clock())
        expires = now + self._lifetime
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": expires,
            "jti": str(uuid7()),
            "sub": grant.subject,
            "typ": grant.subject_type,
            "scope": " ".join(sorted(grant.permissions)),
            **({"org": str(grant.organization_id)} if grant.organization_id else {}),
            **({"sid": grant.session_id} if grant.session_id else {}),
            **({"ver": grant.version} if grant.version else {}),
        }
        key = self.signing()
        token = jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.key_id})
        return IssuedToken(token, expires)

    def signing(self) -> SigningKey:
        """The key of now by our own clock, so that a replica without its database goes over to the next one, too."""
        now = self._clock()
        return next((key for key in reversed(self._keys) if key.signs_at <= now), self._keys[0])

    def key_set(self) -> str:
        """RFC 7517 JSON of the public keys."""
        return json.dumps({"keys": [key.jwk() for key in self._keys]})
