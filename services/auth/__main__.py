"""The auth process."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import grpc
import uvloop

from neurectomy.auth.v1.api_keys_pb2_grpc import add_ApiKeysServiceServicer_to_server
from neurectomy.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from neurectomy.auth.v1.second_factor_pb2_grpc import add_SecondFactorServiceServicer_to_server
from services.auth import signing_keys
from services.auth.accounts import Accounts, Identities
from services.auth.api_keys import ApiKeys
from services.auth.attempts import Attempts, Limits
from services.auth.enrolment import Enrolments
from services.auth.passwords import Passwords
from services.auth.revocations import Revocations
from services.auth.sealing import Keyring
from services.auth.second_factor import CODE_LIMITS, SecondFactors
from services.auth.service.accounts import Auth
from services.auth.service.api_keys import ApiKeysRpcs
from services.auth.service.second_factor import SecondFactorRpcs
from services.auth.sessions import Sessions
from services.auth.settings import AuthSettings
from services.auth.store.attempts import LocalCounters, SharedCounters
from services.auth.tokens import Tokens
from services.runtime import postgres
from services.runtime.caller import PublicKeys, Verifier, parse_key_set
from services.runtime.redis import connect
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
        keyring = Keyring(settings.encryption_secret.get_secret_value())
        revocations = Revocations(settings.access_token_seconds)
        redis = await stack.enter_async_context(connect(settings.redis_url.get_secret_value()))
        counters, attempts_key = SharedCounters(redis, LocalCounters()), keyring.derived("attempts")
        attempts = Attempts(counters, attempts_key, Limits())
        second_factors = SecondFactors(database, keyring, Attempts(counters, attempts_key, CODE_LIMITS))
        enrolments = Enrolments(
            database, second_factors, passwords, keyring, attempts, revocations, settings.second_factor_issuer
        )
        accounts = Accounts(database, passwords, second_factors, sessions)

        def register(server: grpc.aio.Server) -> None:
            add_AuthServiceServicer_to_server(Auth(accounts, identities, database, tokens, verifier), server)
            add_ApiKeysServiceServicer_to_server(ApiKeysRpcs(api_keys), server)
            add_SecondFactorServiceServicer_to_server(SecondFactorRpcs(enrolments), server)

        await serve("auth", settings, verifier, register)


if __name__ == "__main__":
    uvloop.run(main())
