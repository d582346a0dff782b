"""Who is calling: the token that came with a call, once it is verified, is the principal that everything below sees."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from google.protobuf import descriptor_pool

from neurectomy.auth.v1 import access_pb2
from services.runtime.errors import PermissionMissing, TokenInvalid, TokenMissing
from services.runtime.scopes import Call

if TYPE_CHECKING:
    from services.runtime.verifier import Verifier

MAX_TOKEN = 8_192


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
    version: int = 0
    """The membership's, when the token was issued."""

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

    def __init__(self, call: Call, rule: access_pb2.Access, verifier: "Verifier") -> None:
        self._call = call
        self._rule = rule
        self._verifier = verifier

    async def __aenter__(self) -> None:
        if self._rule.anyone:
            return
        token = bearer(self._call.metadata.get("authorization"))
        principal = self._verifier.known(token) or await self._verifier.verify(token)
        if self._rule.permission:
            principal.require(self._rule.permission)
        act_as(principal, token)

    async def __aexit__(self, *_: object) -> None:
        return None
