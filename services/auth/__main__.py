"""The auth process."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import grpc
import uvloop

from neurectomy.auth.v1.api_keys_pb2_grpc import add_ApiKeysServiceServicer_to_server
from neurectomy.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from services.auth import signing_keys
from services.auth.accounts import Accounts, Identities
from services.auth.api_keys import ApiKeys
from services.auth.passwords import Passwords
from services.auth.relay import Relay
from services.auth.service.accounts import Auth
from services.auth.service.api_keys import ApiKeysRpcs
from services.auth.sessions import Sessions
from services.auth.settings import AuthSettings
from services.auth.standing import Standing
from services.auth.tokens import Tokens
from services.auth.told import Told
from services.runtime import postgres, redis
from services.runtime.events import Wake
from services.runtime.server import serve
from services.runtime.settings import load
from services.runtime.verification import PublicKeys, parse_key_set
from services.runtime.verifier import Verifier


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

        verifier = Verifier(own_keys, Standing(database).check, api_keys.principal)
        told = Told(await stack.enter_async_context(redis.connect(settings.redis_url.get_secret_value())))
        wake = Wake()  # for Revocations(settings.access_token_seconds, wake=wake)
        await stack.enter_async_context(Relay(database, verifier, told, wake).running())
        accounts = Accounts(database, passwords, sessions)

        def register(server: grpc.aio.Server) -> None:
            add_AuthServiceServicer_to_server(Auth(accounts, identities, database, tokens, verifier), server)
            add_ApiKeysServiceServicer_to_server(ApiKeysRpcs(api_keys), server)

        await serve("auth", settings, verifier, register)


if __name__ == "__main__":
    uvloop.run(main())
