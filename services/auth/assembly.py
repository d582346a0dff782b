"""The rules of auth, put together: what each of them needs of the others, and what runs beside the calls."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from services.auth.accounts import Accounts, Identities
from services.auth.api_keys import ApiKeys
from services.auth.attempts import Attempts
from services.auth.credentials import Credentials
from services.auth.ending import Ending
from services.auth.enrolment import Enrolments
from services.auth.explanations import Explanations
from services.auth.invitations import Invitations
from services.auth.joining import Joining
from services.auth.key_uses import KeyUses
from services.auth.mail import Mail, Sending, Writer
from services.auth.mailers import mailer_of
from services.auth.members import Members
from services.auth.open_sessions import OpenSessions
from services.auth.organizations import Organizations
from services.auth.password_changes import PasswordChanges
from services.auth.passwords import HashingPool, Passwords
from services.auth.refreshing import Refreshing, Rotation
from services.auth.relay import Relay
from services.auth.revocations import Revocations
from services.auth.roles import Roles
from services.auth.sealing import Keyring
from services.auth.second_factor import SecondFactors, stricter
from services.auth.sessions import Lifetimes, Sessions
from services.auth.settings import AuthSettings
from services.auth.signing_keys import SigningKeys
from services.auth.standing import Standing
from services.auth.store.attempts import LocalCounters, SharedCounters
from services.auth.sweeping import Sweeping
from services.auth.tokens import Tokens
from services.auth.told import Told
from services.runtime import postgres, redis
from services.runtime.background import in_background
from services.runtime.events import Wake
from services.runtime.postgres import Database
from services.runtime.verification import PublicKeys, parse_key_set
from services.runtime.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Ground:
    """What the rules stand on."""

    settings: AuthSettings
    database: Database
    redis: Redis
    keyring: Keyring
    tokens: Tokens
    wake: Wake
    revocations: Revocations
    signing_keys: SigningKeys
    passwords: Passwords


@dataclass(frozen=True, slots=True)
class Rules:
    """One for each area; each servicer has its own."""

    database: Database
    verifier: Verifier
    signing_keys: SigningKeys
    identities: Identities
    accounts: Accounts
    password_changes: PasswordChanges
    enrolments: Enrolments
    refreshing: Refreshing
    open_sessions: OpenSessions
    api_keys: ApiKeys
    organizations: Organizations
    members: Members
    roles: Roles
    invitations: Invitations
    joining: Joining
    explanations: Explanations


@asynccontextmanager
async def assembled(settings: AuthSettings) -> AsyncIterator[Rules]:
    """All of them, and their work in the background, until the end of the `async with`."""
    async with AsyncExitStack() as stack:
        ground = await _ground(settings, stack)
        uses = KeyUses(ground.database)
        await stack.enter_async_context(uses.written())
        rules = _rules(ground, uses)
        await _run_beside(ground, rules.verifier, stack)
        yield rules


async def _ground(settings: AuthSettings, stack: AsyncExitStack) -> Ground:
    url, prepare = settings.database_url.get_secret_value(), postgres.jsonb_as_objects
    database = await stack.enter_async_context(postgres.connect(url, init=prepare))
    client = await stack.enter_async_context(redis.connect(settings.redis_url.get_secret_value()))
    profile, keyring = settings.password_profile, Keyring(settings.encryption_secret.get_secret_value())
    pool = HashingPool(settings.password_memory_mb, profile.megabytes, settings.password_queue)
    passwords = Passwords(profile, stack.enter_context(pool))
    tokens, wake = Tokens([], settings.access_token_seconds), Wake()
    revocations = Revocations(settings.access_token_seconds, wake=wake)
    signing_keys = SigningKeys(database, keyring, tokens, revocations, settings.life_of_keys())
    await signing_keys.begin()
    return Ground(settings, database, client, keyring, tokens, wake, revocations, signing_keys, passwords)


def _rules(ground: Ground, uses: KeyUses) -> Rules:
    settings, database, passwords = ground.settings, ground.database, ground.passwords
    revocations, keyring, mail = ground.revocations, ground.keyring, Mail(ground.keyring)
    counters, key = SharedCounters(ground.redis, LocalCounters()), keyring.derived("attempts")
    attempts = Attempts(counters, key, settings.limits())
    lifetimes = Lifetimes(settings.refresh_token_seconds, settings.session_seconds)
    rotation = Rotation(keyring.derived("refresh"), settings.refresh_grace_seconds, lifetimes)
    sessions, ending = Sessions(ground.tokens, lifetimes), Ending(revocations)
    credentials = Credentials(database, passwords, attempts)
    second_factors = SecondFactors(database, keyring, Attempts(counters, key, stricter(settings.limits())))
    api_keys = ApiKeys(database, revocations, uses)
    return Rules(
        database=database,
        verifier=_verifier(ground, api_keys),
        signing_keys=ground.signing_keys,
        identities=Identities(ground.tokens, settings.service_credentials, settings.anonymous_organization),
        accounts=Accounts(database, passwords, credentials, second_factors, attempts, sessions, ending),
        password_changes=PasswordChanges(database, passwords, credentials, attempts, ending, mail),
        enrolments=Enrolments(
            database, second_factors, passwords, keyring, attempts, ending, mail, settings.second_factor_issuer
        ),
        refreshing=Refreshing(database, sessions, ending, rotation),
        open_sessions=OpenSessions(database, sessions, ending),
        api_keys=api_keys,
        organizations=Organizations(database),
        members=Members(database, revocations, ending),
        roles=Roles(database, revocations),
        invitations=Invitations(database, mail),
        joining=Joining(database, passwords, attempts, sessions),
        explanations=Explanations(database),
    )


def _verifier(ground: Ground, api_keys: ApiKeys) -> Verifier:
    """Auth's own looks at PostgreSQL, not at Redis."""

    async def own_keys() -> PublicKeys:
        return parse_key_set(await ground.signing_keys.key_set())

    return Verifier(own_keys, Standing(ground.database).check, api_keys.principal)


async def _run_beside(ground: Ground, verifier: Verifier, stack: AsyncExitStack) -> None:
    settings, database = ground.settings, ground.database
    told = Told(await stack.enter_async_context(redis.connect(settings.redis_url.get_secret_value())))
    await stack.enter_async_context(Relay(database, verifier, told, ground.wake).running())
    await stack.enter_async_context(in_background(ground.signing_keys.keep()))
    await stack.enter_async_context(in_background(Sweeping(database, settings.refresh_token_seconds).keep()))
    if mailer := mailer_of(settings.smtp_url, settings.mail_folder):
        writer = Writer(ground.keyring, settings.mail_from, settings.public_url.rstrip("/"))
        await stack.enter_async_context(in_background(Sending(database, writer, mailer).run()))
