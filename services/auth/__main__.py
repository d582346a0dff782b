"""The auth process."""

from contextlib import AsyncExitStack
from functools import partial

import grpc
import uvloop

from neurectomy.auth.v1.api_keys_pb2_grpc import add_ApiKeysServiceServicer_to_server
from neurectomy.auth.v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from neurectomy.auth.v1.auth_pb2_grpc import add_AuthServiceServicer_to_server
from neurectomy.auth.v1.explanations_pb2_grpc import add_ExplanationsServiceServicer_to_server
from neurectomy.auth.v1.invitations_pb2_grpc import add_InvitationsServiceServicer_to_server
from neurectomy.auth.v1.members_pb2_grpc import add_MembersServiceServicer_to_server
from neurectomy.auth.v1.organizations_pb2_grpc import add_OrganizationsServiceServicer_to_server
from neurectomy.auth.v1.roles_pb2_grpc import add_RolesServiceServicer_to_server
from neurectomy.auth.v1.sessions_pb2_grpc import add_SessionsServiceServicer_to_server
from neurectomy.auth.v1.passwords_pb2_grpc import add_PasswordsServiceServicer_to_server
from neurectomy.auth.v1.second_factor_pb2_grpc import add_SecondFactorServiceServicer_to_server
from services.auth import signing_keys
from neurectomy.auth.v1.signing_keys_pb2_grpc import add_SigningKeysServiceServicer_to_server
from services.auth.accounts import Accounts, Identities
from services.auth.api_keys import ApiKeys
from services.auth.attempts import Attempts
from services.auth.ending import Ending
from services.auth.explanations import Explanations
from services.auth.invitations import Invitations
from services.auth.key_uses import KeyUses
from services.auth.joining import Joining
from services.auth.mail import Mail
from services.auth.members import Members
from services.auth.open_sessions import OpenSessions
from services.auth.organizations import Organizations
from services.auth.passwords import Passwords
from services.auth.refreshing import Refreshing, Rotation
from services.auth.revocations import Revocations
from services.auth.roles import Roles
from services.auth.sealing import Keyring
from services.auth.relay import Relay
from services.auth.service.accounts import Auth
from services.auth.service.api_keys import ApiKeysRpcs
from services.auth.service.explanations import ExplanationsRpcs
from services.auth.service.invitations import InvitationsRpcs
from services.auth.service.members import MembersRpcs
from services.auth.service.organizations import OrganizationsRpcs
from services.auth.service.roles import RolesRpcs
from services.auth.service.sessions import SessionsRpcs
from services.auth.sessions import Lifetimes, Sessions
from services.auth.settings import AuthSettings
from services.auth.sweeping import Sweeping
from services.auth.tokens import Tokens
from services.runtime import postgres
from services.auth.credentials import Credentials
from services.auth.enrolment import Enrolments
from services.auth.mail import Mail, Sending, Writer
from services.auth.mailers import mailer_of
from services.auth.origin import OriginScope
from services.auth.password_changes import PasswordChanges
from services.auth.passwords import HashingPool, Passwords
from services.auth.revocations import Revocations
from services.auth.sealing import Keyring
from services.auth.second_factor import SecondFactors, stricter
from services.auth.service.accounts import Auth
from services.auth.service.api_keys import ApiKeysRpcs
from services.auth.service.passwords import PasswordsRpcs
from services.auth.service.second_factor import SecondFactorRpcs
from services.auth.sessions import Sessions
from services.auth.settings import AuthSettings
from services.auth.store.attempts import LocalCounters, SharedCounters
from services.auth.tokens import Tokens
from services.runtime import postgres, redis
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
        shared = await stack.enter_async_context(redis.connect(settings.redis_url.get_secret_value()))
        megabytes, profile = settings.password_memory_mb, settings.password_profile
        pool = stack.enter_context(HashingPool(megabytes, profile.megabytes, settings.password_queue))
        keyring = Keyring(settings.encryption_secret.get_secret_value())
        tokens = Tokens(await signing_keys.load(database), settings.access_token_seconds)
        pool = stack.enter_context(ThreadPoolExecutor(settings.password_threads, "passwords"))
        tokens = Tokens([], settings.access_token_seconds)
        keyring = Keyring(settings.encryption_secret.get_secret_value())
        revocations = Revocations(settings.access_token_seconds)
        signing_keys = SigningKeys(database, keyring, tokens, revocations, settings.life_of_keys())
        await signing_keys.load()
        await stack.enter_async_context(in_background(signing_keys.keep()))
        passwords = Passwords(settings.password_profile, pool)
        lifetimes = Lifetimes(settings.refresh_token_seconds, settings.session_seconds)
        sessions = Sessions(tokens, lifetimes)
        passwords = Passwords(profile, pool)
        counters = SharedCounters(shared, LocalCounters())
        attempts_key = keyring.derived("attempts")
        attempts = Attempts(counters, attempts_key, settings.limits())
        credentials = Credentials(database, passwords, attempts)
        sessions = Sessions(tokens, settings.refresh_token_seconds)
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
            return parse_key_set(await signing_keys.key_set())

        verifier = Verifier(own_keys, Standing(database).check, api_keys.principal)
        told = Told(await stack.enter_async_context(redis.connect(settings.redis_url.get_secret_value())))
        wake = Wake()  # for Revocations(settings.access_token_seconds, wake=wake)
        await stack.enter_async_context(Relay(database, verifier, told, wake).running())
        accounts = Accounts(database, passwords, sessions)
        revocations = Revocations(settings.access_token_seconds)
        invitations = Invitations(database, passwords, Attempts(), sessions, Mail())
        second_factors = SecondFactors(database, keyring, Attempts(counters, attempts_key, stricter(settings.limits())))
        accounts = Accounts(database, passwords, credentials, second_factors, attempts, sessions)
        revocations, mail = Revocations(settings.access_token_seconds), Mail(keyring)
        changes = PasswordChanges(database, passwords, credentials, attempts, revocations, mail)
        enrolments = Enrolments(
            database, second_factors, passwords, keyring, attempts, revocations, mail, settings.second_factor_issuer
        )
        if mailer := mailer_of(settings.smtp_url, settings.mail_folder):
            writer = Writer(keyring, settings.mail_from, settings.public_url.rstrip("/"))
            await stack.enter_async_context(in_background(Sending(database, writer, mailer).run()))
        invitations = Invitations(database, Mail())
        joining = Joining(database, passwords, Attempts(), sessions)

        def register(server: grpc.aio.Server) -> None:
            add_AuthServiceServicer_to_server(Auth(accounts, identities, database, signing_keys, verifier), server)
            add_ApiKeysServiceServicer_to_server(ApiKeysRpcs(api_keys), server)
            add_OrganizationsServiceServicer_to_server(OrganizationsRpcs(Organizations(database)), server)
            add_MembersServiceServicer_to_server(MembersRpcs(Members(database, revocations)), server)
            add_RolesServiceServicer_to_server(RolesRpcs(Roles(database, revocations)), server)
            add_InvitationsServiceServicer_to_server(InvitationsRpcs(invitations, joining, verifier), server)
            add_ExplanationsServiceServicer_to_server(ExplanationsRpcs(Explanations(database)), server)
            add_SessionsServiceServicer_to_server(SessionsRpcs(refreshing, open_sessions), server)
            add_PasswordsServiceServicer_to_server(PasswordsRpcs(changes), server)
            add_SecondFactorServiceServicer_to_server(SecondFactorRpcs(enrolments), server)
            add_SigningKeysServiceServicer_to_server(SigningKeysRpcs(signing_keys), server)
            add_AuditServiceServicer_to_server(AuditRpcs(database), server)

        await serve("auth", settings, verifier, register, scopes=[partial(OriginScope, verifier=verifier)])


if __name__ == "__main__":
    uvloop.run(main())
