"""The RPCs of the auth service: proto in, call, proto out."""

from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from neurectomy.auth.v1 import auth_pb2 as pb
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceServicer
from services.auth.accounts import Accounts, LoggedIn
from services.auth.store import AuthStore
from services.auth.tokens import IssuedToken, Tokens
from services.runtime.caller import Principal, Verifier, current_principal
from services.runtime.errors import CredentialsInvalid, InvalidFields, UserNotFound
from services.runtime.postgres import Row
from services.runtime.scopes import Context

MAX_IDS = 1_000


class Auth(AuthServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, accounts: Accounts, store: AuthStore, tokens: Tokens, verifier: Verifier) -> None:
        self._accounts = accounts
        self._store = store
        self._tokens = tokens
        self._verifier = verifier

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        account = await self._accounts.register(
            request.email, request.password, request.display_name, request.organization_name
        )
        user, organization, token = _logged_in(account)
        return pb.RegisterResponse(user=user, organization=organization, access_token=token)

    async def LogIn(self, request: pb.LogInRequest, context: Context) -> pb.LogInResponse:
        organization_id = _organization_id(request.organization_id)
        account = await self._accounts.log_in(request.email, request.password, organization_id)
        user, organization, token = _logged_in(account)
        return pb.LogInResponse(user=user, organization=organization, access_token=token)

    async def VerifyToken(self, request: pb.VerifyTokenRequest, context: Context) -> pb.VerifyTokenResponse:
        return pb.VerifyTokenResponse(principal=_principal(await self._verifier.verify(request.token)))

    async def GetKeySet(self, request: pb.GetKeySetRequest, context: Context) -> pb.GetKeySetResponse:
        return pb.GetKeySetResponse(json=self._tokens.key_set())

    async def CreateAnonymousToken(
        self, request: pb.CreateAnonymousTokenRequest, context: Context
    ) -> pb.CreateAnonymousTokenResponse:
        return pb.CreateAnonymousTokenResponse(access_token=_token(self._accounts.anonymous()))

    async def CreateServiceToken(
        self, request: pb.CreateServiceTokenRequest, context: Context
    ) -> pb.CreateServiceTokenResponse:
        token = self._accounts.service(request.service, request.secret)
        return pb.CreateServiceTokenResponse(access_token=_token(token))

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        expires_at = request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None
        api_key_id, key = await self._accounts.create_api_key(
            current_principal(), request.name, frozenset(request.scopes), expires_at
        )
        return pb.CreateApiKeyResponse(id=str(api_key_id), key=key)

    async def GetCurrentUser(self, request: pb.GetCurrentUserRequest, context: Context) -> pb.GetCurrentUserResponse:
        principal = current_principal()
        if principal.subject_type != "user":
            raise UserNotFound(principal.subject)
        users = await self._store.members(principal.tenant, [UUID(principal.subject)])
        organization = await self._store.organization(principal.tenant)
        if not users or organization is None:
            raise UserNotFound(principal.subject)
        return pb.GetCurrentUserResponse(
            user=_user(users[0], with_email=True),
            organization=pb.Organization(id=str(organization["organization_id"]), name=organization["name"]),
            permissions=sorted(principal.permissions),
        )

    async def BatchGetUsers(self, request: pb.BatchGetUsersRequest, context: Context) -> pb.BatchGetUsersResponse:
        if len(request.ids) > MAX_IDS:
            raise InvalidFields(ids=f"must be at most {MAX_IDS}")
        principal = current_principal()
        rows = await self._store.members(principal.tenant, [known for text in request.ids if (known := _uuid(text))])
        with_email = principal.allows("members:manage")
        return pb.BatchGetUsersResponse(users=[_user(row, with_email) for row in rows])


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _organization_id(text: str) -> UUID | None:
    """None where none was asked for; a malformed one is no better than an unknown one."""
    organization_id = _uuid(text)
    if text and organization_id is None:
        raise CredentialsInvalid
    return organization_id


def _timestamp(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(seconds))


def _token(issued: IssuedToken) -> pb.AccessToken:
    return pb.AccessToken(token=issued.token, expire_time=_timestamp(issued.expires))


def _created(at: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(at)
    return timestamp


def _user(row: Row, with_email: bool) -> pb.User:
    return pb.User(
        id=str(row["user_id"]),
        email=row["email"] if with_email else "",
        display_name=row["display_name"],
        create_time=_created(row["created_at"]),
    )


def _logged_in(account: LoggedIn) -> tuple[pb.User, pb.Organization, pb.AccessToken]:
    user = account.user
    return (
        pb.User(
            id=str(user.user_id),
            email=user.email,
            display_name=user.display_name,
            create_time=_created(user.created_at),
        ),
        pb.Organization(id=str(account.organization_id), name=account.organization_name),
        _token(account.access_token),
    )


def _principal(principal: Principal) -> pb.Principal:
    return pb.Principal(
        subject=principal.subject,
        subject_type=pb.SubjectType.Value(f"SUBJECT_TYPE_{principal.subject_type.upper()}"),
        organization_id=str(principal.organization_id or ""),
        permissions=sorted(principal.permissions),
        session_id=principal.session_id,
        expire_time=_timestamp(principal.expires),
    )
