"""The RPCs of AuthService: proto in, call, proto out."""

from uuid import UUID

from neurectomy.auth.v1 import auth_pb2 as pb
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceServicer
from services.auth import roles
from services.auth.accounts import Accounts, Identities
from services.auth.origin import origin_of
from services.auth.service import messages
from services.auth.signing_keys import SigningKeys
from services.auth.store import accounts as rows
from services.auth.store import memberships
from services.runtime.caller import current_principal
from services.runtime.errors import InvalidFields, UserNotFound
from services.runtime.postgres import Database
from services.runtime.scopes import Context
from services.runtime.verifier import Verifier

MAX_IDS = 1_000


class Auth(AuthServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(
        self,
        accounts: Accounts,
        identities: Identities,
        database: Database,
        signing_keys: SigningKeys,
        verifier: Verifier,
    ) -> None:
        self._accounts = accounts
        self._identities = identities
        self._database = database
        self._signing_keys = signing_keys
        self._verifier = verifier

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        account = await self._accounts.register(
            request.email, request.password, request.display_name, request.organization_name, origin_of(context)
        )
        return pb.RegisterResponse(**messages.logged_in(account))

    async def LogIn(self, request: pb.LogInRequest, context: Context) -> pb.LogInResponse:
        organization_id = messages.organization_id(request.organization_id)
        account = await self._accounts.log_in(
            request.email, request.password, organization_id, request.second_factor_code, origin_of(context)
        )
        return pb.LogInResponse(**messages.logged_in(account))

    async def VerifyToken(self, request: pb.VerifyTokenRequest, context: Context) -> pb.VerifyTokenResponse:
        return pb.VerifyTokenResponse(principal=messages.principal(await self._verifier.prove(request.token)))

    async def GetKeySet(self, request: pb.GetKeySetRequest, context: Context) -> pb.GetKeySetResponse:
        return pb.GetKeySetResponse(json=await self._signing_keys.key_set())

    async def CreateAnonymousToken(
        self, request: pb.CreateAnonymousTokenRequest, context: Context
    ) -> pb.CreateAnonymousTokenResponse:
        return pb.CreateAnonymousTokenResponse(access_token=messages.token(self._identities.anonymous()))

    async def CreateServiceToken(
        self, request: pb.CreateServiceTokenRequest, context: Context
    ) -> pb.CreateServiceTokenResponse:
        token = self._identities.service(request.service, request.secret)
        return pb.CreateServiceTokenResponse(access_token=messages.token(token))

    async def GetCurrentUser(self, request: pb.GetCurrentUserRequest, context: Context) -> pb.GetCurrentUserResponse:
        principal = current_principal()
        if principal.subject_type != "user":
            raise UserNotFound(principal.subject)
        async with self._database.tenant(principal.tenant, read_only=True) as statements:
            member = await memberships.get(statements, principal.tenant, UUID(principal.subject))
            organization = await rows.organization(statements, principal.tenant)
        if member is None or organization is None:
            raise UserNotFound(principal.subject)
        return pb.GetCurrentUserResponse(
            user=messages.user(member, with_email=True),
            organization=pb.Organization(id=str(organization["organization_id"]), name=organization["name"]),
            permissions=sorted(principal.permissions),
            role=messages.role(roles.of_row(member)),
        )

    async def BatchGetUsers(self, request: pb.BatchGetUsersRequest, context: Context) -> pb.BatchGetUsersResponse:
        if len(request.ids) > MAX_IDS:
            raise InvalidFields(ids=f"must be at most {MAX_IDS}")
        principal = current_principal()
        ids = [known for text in request.ids if (known := messages.uuid(text))]
        async with self._database.tenant(principal.tenant, read_only=True) as statements:
            users = await rows.members(statements, principal.tenant, ids)
        with_email = principal.allows("members:manage")
        return pb.BatchGetUsersResponse(users=[messages.user(row, with_email) for row in users])
