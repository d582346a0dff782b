"""Who is calling: the token that came with a call, verified here, becomes the principal that everything below sees."""

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
from google.protobuf import descriptor_pool
from jwt.algorithms import OKPAlgorithm

from neurectomy.auth.v1 import access_pb2
from services.runtime.errors import PermissionMissing, TokenExpired, TokenInvalid, TokenMissing
from services.runtime.scopes import Call

ISSUER = "neurectomy"
AUDIENCE = "neurectomy"
ALGORITHM = "EdDSA"
API_KEY_PREFIX = "nrctmy_"
CACHE_SECONDS = 30.0
CACHE_SIZE = 10_000
MAX_TOKEN = 8_192
KEY_REFRESH_SECONDS = 1.0
REQUIRED_CLAIMS = ["exp", "nbf", "iat", "iss", "aud", "sub", "jti", "scope", "typ"]

Clock = Callable[[], float]
PublicKeys = Mapping[str, Any]
"""Key id -> Ed25519 public key."""


def covers(granted: frozenset[str], permission: str) -> bool:
    """Whether what was granted holds the permission, or its area's wildcard."""
    return permission in granted or f"{permission.partition(':')[0]}:*" in granted


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a call is made. `expires` is in seconds since 1970."""

    subject: str
    subject_type: str
    """`user`, `api_key`, `service` or `anonymous`."""
    organization_id: UUID | None
    permissions: frozenset[str]
    session_id: str
    expires: float

    def allows(self, permission: str) -> bool:
        """Whether the permission, for example `agents:read`, or its area's wildcard, `agents:*`, was given."""
        return covers(self.permissions, permission)

    def require(self, permission: str) -> None:
        """Raise PermissionMissing unless allowed."""
        if not self.allows(permission):
            raise PermissionMissing(permission)

    @property
    def tenant(self) -> UUID:
        """The organization of the call. Raises PermissionMissing for a service, which has none."""
        if self.organization_id is None:
            raise PermissionMissing("organization membership")
        return self.organization_id


_principal: ContextVar[Principal | None] = ContextVar("principal", default=None)
_token: ContextVar[str | None] = ContextVar("token", default=None)


def current_principal() -> Principal:
    """The principal of the call in progress. Raises TokenMissing where no call was authenticated."""
    principal = _principal.get()
    if principal is None:
        raise TokenMissing
    return principal


def current_token() -> str | None:
    """The caller's own token, to be forwarded to other services."""
    return _token.get()


def act_as(principal: Principal | None, token: str | None) -> None:
    """From now on, this task and its children act for this caller."""
    _principal.set(principal)
    _token.set(token)


def bearer(authorization: str | None) -> str:
    """The token of an `Authorization: Bearer ...` header."""
    if not authorization:
        raise TokenMissing
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise TokenInvalid
    return token


def parse_key_set(text: str) -> dict[str, Any]:
    """The Ed25519 public keys of an RFC 7517 key set, by key id."""
    return {key["kid"]: OKPAlgorithm.from_jwk(key) for key in json.loads(text)["keys"] if key.get("kty") == "OKP"}


class Verifier:
    """Verifies access tokens by signature, and API keys by asking auth; remembers an answer for at most 30 seconds."""

    def __init__(
        self,
        keys: Callable[[], Awaitable[PublicKeys]],
        api_key: Callable[[str], Awaitable[Principal]],
        clock: Clock = time.time,
    ) -> None:
        self._fetch_keys = keys
        self._api_key = api_key
        self._clock = clock
        self._keys: PublicKeys = {}
        self._keys_fetched = float("-inf")
        self._verified: dict[bytes, tuple[float, Principal]] = {}

    async def verify(self, token: str) -> Principal:
        """The principal that a token or API key stands for. Raises TokenInvalid or TokenExpired."""
        digest = hashlib.sha256(token.encode()).digest()
        until, principal = self._verified.get(digest, (0.0, None))
        now = self._clock()
        if principal is not None and now < until:
            return principal
        principal = await self._prove(token)
        self._remember(digest, min(now + CACHE_SECONDS, principal.expires), principal)
        return principal

    async def _prove(self, token: str) -> Principal:
        if token.startswith(API_KEY_PREFIX):
            return await self._api_key(token)
        return decode(token, await self._key_of(token))

    def _remember(self, digest: bytes, until: float, principal: Principal) -> None:
        self._verified.pop(digest, None)
        if len(self._verified) >= CACHE_SIZE:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = (until, principal)

    async def _key_of(self, token: str) -> Any:
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
        except jwt.InvalidTokenError as error:
            raise TokenInvalid from error
        if key_id not in self._keys and self._clock() - self._keys_fetched > KEY_REFRESH_SECONDS:
            self._keys = await self._fetch_keys()
            self._keys_fetched = self._clock()
        if key_id not in self._keys:
            raise TokenInvalid
        return self._keys[key_id]


def decode(token: str, key: Any) -> Principal:
    """The principal of a JWT that is signed with the key and good now. Raises TokenInvalid or TokenExpired."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            options={"require": REQUIRED_CLAIMS, "strict_aud": True},
        )
        return _principal_of(claims)
    except jwt.ExpiredSignatureError as error:
        raise TokenExpired from error
    except (jwt.InvalidTokenError, ValueError) as error:
        raise TokenInvalid from error


def _principal_of(claims: Mapping[str, Any]) -> Principal:
    organization = claims.get("org")
    return Principal(
        subject=claims["sub"],
        subject_type=claims["typ"],
        organization_id=UUID(organization) if organization else None,
        permissions=frozenset(claims["scope"].split()),
        session_id=claims.get("sid", ""),
        expires=float(claims["exp"]),
    )


def access_rule(method: str) -> access_pb2.Access:
    """The rule that the protos state for `/package.Service/Method`. Raises LookupError where they state none."""
    name = method.removeprefix("/").replace("/", ".")
    options = descriptor_pool.Default().FindMethodByName(name).GetOptions()
    rule: access_pb2.Access = options.Extensions[access_pb2.access]
    if rule.WhichOneof("rule") is None:
        raise LookupError(f"{method} states no access rule")
    return rule


class CallerScope:
    """Lets a call in if its token satisfies the rule of its method."""

    __slots__ = ("_call", "_rule", "_verifier")

    def __init__(self, call: Call, rule: access_pb2.Access, verifier: Verifier) -> None:
        self._call = call
        self._rule = rule
        self._verifier = verifier

    async def __aenter__(self) -> None:
        if self._rule.anyone:
            return
        header = self._call.metadata.get("authorization")
        token = bearer(header)
        principal = await self._verifier.verify(token)
        if self._rule.permission:
            principal.require(self._rule.permission)
        act_as(principal, token)

    async def __aexit__(self, *_: object) -> None:
        return None
