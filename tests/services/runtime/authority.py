"""Someone who issues tokens and tells the keys, in place of the auth service."""

import time
from typing import Any
from uuid import uuid4

import jwt

from services.auth.tokens import Grant, SigningKey, Tokens
from services.runtime.caller import Principal
from services.runtime.errors import TokenRevoked
from services.runtime.verification import AUDIENCE, ISSUER, PublicKeys, parse_key_set
from services.runtime.verifier import CACHE_SECONDS, Verifier

ORGANIZATION, USER, SESSION = uuid4(), str(uuid4()), str(uuid4())
GRANT = Grant(USER, "user", frozenset({"agents:*", "graph:read"}), ORGANIZATION, SESSION, 3)


class Authority:
    """Keys that a verifier asks for, and how often it did."""

    def __init__(self) -> None:
        self.now = time.time()
        self.keys = [SigningKey.generate()]
        self.asked = 0
        self.checked = 0
        self.looked_up = 0
        self.revoked = False

    def token(self, lifetime: int = 600) -> str:
        return Tokens(self.keys, lifetime, clock=lambda: self.now).issue(GRANT).token

    def signed(self, **changes: Any) -> str:
        """A token that is signed with the right key, whatever it says; None takes a claim away."""
        now = int(self.now)
        claims = {
            **{"iss": ISSUER, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 60, "jti": "1"},
            **{"sub": USER, "typ": "user", "scope": "agents:read", "org": str(ORGANIZATION), "sid": SESSION, "ver": 1},
        }
        given = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(given, self.keys[0].private, "EdDSA", headers={"kid": self.keys[0].key_id})

    async def public(self) -> PublicKeys:
        self.asked += 1
        return parse_key_set(Tokens(self.keys, 600).key_set())

    async def check(self, _token: str, _principal: Principal) -> float:
        self.checked += 1
        if self.revoked:
            raise TokenRevoked
        return CACHE_SECONDS

    async def api_key(self, key: str) -> Principal:
        self.looked_up += 1
        return Principal(key, "api_key", ORGANIZATION, frozenset(), "", self.now + 3_600)

    def verifier(self) -> Verifier:
        return Verifier(self.public, self.check, self.api_key, clock=lambda: self.now)
