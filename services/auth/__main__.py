"""The auth process."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import grpc
import uvloop

from neurectomy.auth.v1.api_keys_pb2_grpc import add_ApiKeysServiceServicer_to_server
from neurectomy.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from neurectomy.auth.v1.explanations_pb2_grpc import add_ExplanationsServiceServicer_to_server
from neurectomy.auth.v1.invitations_pb2_grpc import add_InvitationsServiceServicer_to_server
from neurectomy.auth.v1.members_pb2_grpc import add_MembersServiceServicer_to_server
from neurectomy.auth.v1.organizations_pb2_grpc import add_OrganizationsServiceServicer_to_server
from neurectomy.auth.v1.roles_pb2_grpc import add_RolesServiceServicer_to_server
from services.auth import signing_keys
from services.auth.accounts import Accounts, Identities
from services.auth.api_keys import ApiKeys
from services.auth.attempts import Attempts
from services.auth.explanations import Explanations
from services.auth.invitations import Invitations
from services.auth.joining import Joining
from services.auth.mail import Mail
from services.auth.members import Members
from services.auth.organizations import Organizations
from services.auth.passwords import Passwords
from services.auth.revocations import Revocations
from services.auth.roles import Roles
from services.auth.service.accounts import Auth
from services.auth.service.api_keys import ApiKeysRpcs
from services.auth.service.explanations import ExplanationsRpcs
from services.auth.service.invitations import InvitationsRpcs
from services.auth.service.members import MembersRpcs
from services.auth.service.organizations import OrganizationsRpcs
from services.auth.service.roles import RolesRpcs
from services.auth.sessions import Sessions
from services.auth.settings import AuthSettings
from services.auth.tokens import Tokens
from services.runtime import postgres
from services.runtime.caller import PublicKeys, Verifier, parse_key_set
from services.runtime.server import serve
from services.runtime.settings import load


async def main() -> None:
    settings = load(AuthSettings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            postgres.connect(settings.database_url.get_secret_value(), init=postgres.jsonb_as_objects)
        )
        pool = stack.enter_context(ThreadPoolExecutor(settings.password_threads, "passwords"))
        tokens = Tokens(await signing_keys.load(database), settings.access_token_seconds)
        passwords = Passwords(settings.password_profile, pool)
        sessions = Sessions(tokens, settings.refresh_token_seconds)
        identities = Identities(tokens, settings.service_credentials, settings.anonymous_organization)
        api_keys = ApiKeys(database)

        async def own_keys() -> PublicKeys:
            return parse_key_set(tokens.key_set())

        verifier = Verifier(own_keys, api_keys.principal)
        accounts = Accounts(database, passwords, sessions)
        revocations = Revocations(settings.access_token_seconds)
        invitations = Invitations(database, Mail())
        joining = Joining(database, passwords, Attempts(), sessions)

        def register(server: grpc.aio.Server) -> None:
            add_AuthServiceServicer_to_server(Auth(accounts, identities, database, tokens, verifier), server)
            add_ApiKeysServiceServicer_to_server(ApiKeysRpcs(api_keys), server)
            add_OrganizationsServiceServicer_to_server(OrganizationsRpcs(Organizations(database)), server)
            add_MembersServiceServicer_to_server(MembersRpcs(Members(database, revocations)), server)
            add_RolesServiceServicer_to_server(RolesRpcs(Roles(database, revocations)), server)
            add_InvitationsServiceServicer_to_server(InvitationsRpcs(invitations, joining, verifier), server)
            add_ExplanationsServiceServicer_to_server(ExplanationsRpcs(Explanations(database)), server)

        await serve("auth", settings, verifier, register)


if __name__ == "__main__":
    uvloop.run(main())
