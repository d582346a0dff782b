"""The auth process."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import grpc
import uvloop

from neurectomy.auth.v1.api_keys_pb2_grpc import add_ApiKeysServiceServicer_to_server
from neurectomy.auth.v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from neurectomy.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from neurectomy.auth.v1.signing_keys_pb2_grpc import add_SigningKeysServiceServicer_to_server
from services.auth.accounts import Accounts, Identities
from services.auth.api_keys import ApiKeys
from services.auth.passwords import Passwords
from services.auth.revocations import Revocations
from services.auth.sealing import Keyring
from services.auth.service.accounts import Auth
from services.auth.service.api_keys import ApiKeysRpcs
from services.auth.service.audit import AuditRpcs
from services.auth.service.signing_keys import SigningKeysRpcs
from services.auth.sessions import Sessions
from services.auth.settings import AuthSettings
from services.auth.signing_keys import SigningKeys
from services.auth.tokens import Tokens
from services.runtime import postgres
from services.runtime.background import in_background
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
        tokens = Tokens([], settings.access_token_seconds)
        keyring = Keyring(settings.encryption_secret.get_secret_value())
        revocations = Revocations(settings.access_token_seconds)
        signing_keys = SigningKeys(database, keyring, tokens, revocations, settings.life_of_keys())
        await signing_keys.begin()
        await stack.enter_async_context(in_background(signing_keys.keep()))
        passwords = Passwords(settings.password_profile, pool)
        sessions = Sessions(tokens, settings.refresh_token_seconds)
        identities = Identities(tokens, settings.service_credentials, settings.anonymous_organization)
        api_keys = ApiKeys(database)

        async def own_keys() -> PublicKeys:
            return parse_key_set(await signing_keys.key_set())

        verifier = Verifier(own_keys, api_keys.principal)
        accounts = Accounts(database, passwords, sessions)

        def register(server: grpc.aio.Server) -> None:
            add_AuthServiceServicer_to_server(Auth(accounts, identities, database, signing_keys, verifier), server)
            add_ApiKeysServiceServicer_to_server(ApiKeysRpcs(api_keys), server)
            add_SigningKeysServiceServicer_to_server(SigningKeysRpcs(signing_keys), server)
            add_AuditServiceServicer_to_server(AuditRpcs(database), server)

        await serve("auth", settings, verifier, register)


if __name__ == "__main__":
    uvloop.run(main())
