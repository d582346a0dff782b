"""The auth process."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

import uvloop

from neurectomy.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from services.auth.accounts import Accounts
from services.auth.passwords import Passwords
from services.auth.service import Auth
from services.auth.settings import AuthSettings
from services.auth.store import AuthStore
from services.auth.tokens import Tokens
from services.runtime import postgres
from services.runtime.caller import PublicKeys, Verifier, parse_key_set
from services.runtime.server import serve
from services.runtime.settings import load


async def main() -> None:
    settings = load(AuthSettings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(postgres.connect(settings.database_url.get_secret_value()))
        pool = stack.enter_context(ThreadPoolExecutor(settings.password_threads, "passwords"))
        store = AuthStore(database)
        tokens = Tokens(await store.signing_keys(), settings.access_token_seconds)
        passwords = Passwords(settings.password_profile, pool)
        accounts = Accounts(store, passwords, tokens, settings.service_credentials, settings.anonymous_organization)

        async def own_keys() -> PublicKeys:
            return parse_key_set(tokens.key_set())

        verifier = Verifier(own_keys, accounts.api_key_principal)
        service = Auth(accounts, store, tokens, verifier)
        await serve("auth", settings, verifier, partial(add_AuthServiceServicer_to_server, service))


if __name__ == "__main__":
    uvloop.run(main())
