"""The auth process."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import grpc
import uvloop

from neurectomy.auth.v1.api_keys_pb2_grpc import add_ApiKeysServiceServicer_to_server
from neurectomy.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from neurectomy.auth.v1.sessions_pb2_grpc import add_SessionsServiceServicer_to_server
from services.auth import signing_keys
from services.auth.accounts import Accounts, Identities
from services.auth.api_keys import ApiKeys
from services.auth.ending import Ending
from services.auth.key_uses import KeyUses
from services.auth.open_sessions import OpenSessions
from services.auth.passwords import Passwords
from services.auth.refreshing import Refreshing, Rotation
from services.auth.revocations import Revocations
from services.auth.sealing import Keyring
from services.auth.service.accounts import Auth
from services.auth.service.api_keys import ApiKeysRpcs
from services.auth.service.sessions import SessionsRpcs
from services.auth.sessions import Lifetimes, Sessions
from services.auth.settings import AuthSettings
from services.auth.sweeping import Sweeping
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
        tokens = Tokens(await signing_keys.load(database), settings.access_token_seconds)
        passwords = Passwords(settings.password_profile, pool)
        lifetimes = Lifetimes(settings.refresh_token_seconds, settings.session_seconds)
        sessions = Sessions(tokens, lifetimes)
        identities = Identities(tokens, settings.service_credentials, settings.anonymous_organization)
        revocations = Revocations(settings.access_token_seconds)
        ending = Ending(revocations)
        keyring = Keyring(settings.encryption_secret.get_secret_value())
        rotation = Rotation(keyring.derived("refresh"), settings.refresh_grace_seconds, lifetimes)
        refreshing = Refreshing(database, sessions, ending, rotation)
        open_sessions = OpenSessions(database, sessions, ending)
        await stack.enter_async_context(in_background(Sweeping(database, settings.refresh_token_seconds).keep()))
        uses = KeyUses(database)
        await stack.enter_async_context(uses.written())
        api_keys = ApiKeys(database, revocations, uses)

        async def own_keys() -> PublicKeys:
            return parse_key_set(tokens.key_set())

        verifier = Verifier(own_keys, api_keys.principal)
        accounts = Accounts(database, passwords, sessions)

        def register(server: grpc.aio.Server) -> None:
            add_AuthServiceServicer_to_server(Auth(accounts, identities, database, tokens, verifier), server)
            add_ApiKeysServiceServicer_to_server(ApiKeysRpcs(api_keys), server)
            add_SessionsServiceServicer_to_server(SessionsRpcs(refreshing, open_sessions), server)

        await serve("auth", settings, verifier, register)


if __name__ == "__main__":
    uvloop.run(main())
