"""Codes and time: the rules on the real database, by a clock that moves when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from services.auth.attempts import Attempts, Limits
from services.auth.ending import Ending
from services.auth.enrolment import Enrolments
from services.auth.mail import Mail
from services.auth.one_time_codes import read
from services.auth.origin import Origin
from services.auth.passwords import HashingPool, Passwords, Profile
from services.auth.revocations import Revocations
from services.auth.sealing import Keyring
from services.auth.second_factor import Holder, SecondFactors, stricter
from services.auth.store.attempts import LocalCounters
from services.runtime import postgres
from services.runtime.errors import (
    CredentialsInvalid,
    DomainError,
    SecondFactorEnrolled,
    SecondFactorInvalid,
    SecondFactorMissing,
    SecondFactorRequired,
    TooManyAttempts,
)
from services.runtime.postgres import Database
from tests.conftest import Connect, Tenant, register
from tests.services.auth.second_factors import App

STEP = 30
CODE_LIMITS = stricter(Limits())
START = 2_000_000_010.0
"""In the middle of a time step."""
HOME, ELSEWHERE = Origin("192.0.2.1"), Origin("198.51.100.1")


@dataclass
class Clock:
    """Seconds since 1970, and since whenever."""

    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    """A user, an app, and the rules that both meet."""

    clock: Clock
    tenant: Tenant
    holder: Holder
    factors: SecondFactors
    enrolments: Enrolments

    async def enrol(self) -> tuple[App, list[str]]:
        """Switch the factor on."""
        app = App((await self.enrolments.begin(self.holder, self.tenant.password)).secret, self.clock)
        return app, await self.enrolments.confirm(self.holder, read(app.code(), "code"))

    async def log_in(self, code: str | None, origin: Origin = HOME) -> None:
        """Pass, as a log-in does whose password was right."""
        stranger = Holder(self.holder.user_id, self.holder.organization_id, origin)
        async with self.factors.passed(stranger, read(code, "code") if code else None):
            pass

    async def outcome(self, code: str | None, origin: Origin = HOME) -> type[DomainError] | None:
        """What a log-in with the code fails with."""
        try:
            await self.log_in(code, origin)
        except DomainError as error:
            return type(error)
        return None


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def database(stack: Stack) -> AsyncIterator[Database]:
    """What the auth process sees."""
    url = stack.database_url("auth")
    async with postgres.connect(url, max_size=10, init=postgres.jsonb_as_objects) as connected:
        yield connected


@pytest.fixture(scope="module")
def passwords() -> Iterator[Passwords]:
    """As the process hashes them."""
    with HashingPool(64, 64, 64) as pool:
        yield Passwords(Profile.RFC_9106_LOW_MEMORY, pool)


@pytest_asyncio.fixture(loop_scope="session")
async def scene(connect_as: Connect, database: Database, passwords: Passwords) -> Scene:
    """Of a new user."""
    clock, tenant, keyring = Clock(), await register(connect_as), Keyring("a secret of tests, long enough")
    counters = LocalCounters(clock)
    holder = Holder(UUID(tenant.user_id), tenant.organization_id, HOME, uuid4())
    factors = SecondFactors(database, keyring, Attempts(counters, b"key", CODE_LIMITS), clock)
    attempts = Attempts(counters, b"key", Limits())
    enrolments = Enrolments(
        database, factors, passwords, keyring, attempts, Ending(Revocations(600)), Mail(keyring), "Tests", clock
    )
    return Scene(clock, tenant, holder, factors, enrolments)


async def failures(database: Database, scene: Scene) -> int:
    sql = "SELECT count(*) FROM audit_entries WHERE organization_id = $1 AND action = 'second_factor.fail'"
    async with database.tenant(scene.holder.organization_id, read_only=True) as statements:
        row = await statements.fetchrow("SELECT audit", sql, scene.holder.organization_id)
    assert row is not None
    return int(row["count"])


async def test_without_a_factor_no_code_is_looked_at(scene: Scene) -> None:
    assert [await scene.outcome(code) for code in (None, "123456")] == [None, None]
    await scene.enrolments.begin(scene.holder, scene.tenant.password)
    assert [await scene.outcome(code) for code in (None, "123456")] == [None, None]


async def test_the_code_that_confirmed_is_used_up(scene: Scene, database: Database) -> None:
    app, _ = await scene.enrol()
    before = await failures(database, scene)
    assert await scene.outcome(None) is SecondFactorRequired
    assert await failures(database, scene) == before + 1  # whoever has the password, and no code, is written down
    assert await scene.outcome(_code(app, 0)) is SecondFactorInvalid
    assert await scene.outcome(_code(app, 1)) is None


async def test_codes_are_good_one_step_to_each_side_and_in_order(scene: Scene) -> None:
    app, _ = await scene.enrol()
    scene.clock.now = START + 10 * STEP
    assert await scene.outcome(_code(app, 8)) is SecondFactorInvalid
    assert await scene.outcome(_code(app, 12)) is SecondFactorInvalid
    assert await scene.outcome(_code(app, 10)) is None
    assert await scene.outcome(_code(app, 10)) is SecondFactorInvalid
    assert await scene.outcome(_code(app, 9)) is SecondFactorInvalid  # older than the one that was used
    assert await scene.outcome(_code(app, 11)) is None
    scene.clock.now = START + 12 * STEP
    assert await scene.outcome(_code(app, 11)) is SecondFactorInvalid
    assert await scene.outcome(_code(app, 12)) is None


async def test_a_clock_that_goes_back_accepts_nothing_twice(scene: Scene) -> None:
    app, _ = await scene.enrol()
    scene.clock.now = START + 100 * STEP
    assert await scene.outcome(_code(app, 100)) is None
    scene.clock.now = START + 99 * STEP
    assert [await scene.outcome(_code(app, step)) for step in (99, 100)] == [SecondFactorInvalid] * 2


async def test_an_enrolment_waits_ten_minutes(scene: Scene) -> None:
    for late, error in ((601, SecondFactorMissing), (599, None)):
        app = App((await scene.enrolments.begin(scene.holder, scene.tenant.password)).secret, scene.clock)
        scene.clock.now += late
        if error:
            with pytest.raises(error):
                await scene.enrolments.confirm(scene.holder, read(app.code(), "code"))
            continue
        await scene.enrolments.confirm(scene.holder, read(app.code(), "code"))
    with pytest.raises(SecondFactorEnrolled):
        await scene.enrolments.confirm(scene.holder, read(app.code(), "code"))


async def test_a_log_in_that_fails_later_uses_nothing_up(scene: Scene) -> None:
    app, codes = await scene.enrol()
    stranger = Holder(scene.holder.user_id, scene.holder.organization_id, HOME)
    for code in (_code(app, 1), codes[0]):
        with pytest.raises(ZeroDivisionError):
            async with scene.factors.passed(stranger, read(code, "code")):
                raise ZeroDivisionError
    assert [await scene.outcome(code) for code in (_code(app, 1), codes[0])] == [None, None]


async def test_guesses_are_slowed_down_also_right_ones_and_also_all_at_once(scene: Scene, database: Database) -> None:
    app, codes = await scene.enrol()
    guesses = [scene.outcome(app.wrong_code(), ELSEWHERE) for _ in range(20)]
    outcomes = await asyncio.gather(*guesses)
    looked_at = outcomes.count(SecondFactorInvalid)
    assert looked_at == await failures(database, scene) == CODE_LIMITS.pair
    assert outcomes.count(TooManyAttempts) == 20 - looked_at
    assert [await scene.outcome(code, ELSEWHERE) for code in (_code(app, 1), codes[0])] == [TooManyAttempts] * 2
    scene.clock.now += 1
    assert await scene.outcome(_code(app, 1), ELSEWHERE) is None


async def test_strangers_at_many_addresses_do_not_hold_up_the_owner_at_home(scene: Scene) -> None:
    app, codes = await scene.enrol()
    outcomes = [await scene.outcome(app.wrong_code(), Origin(f"203.0.113.{number}")) for number in range(40)]
    assert outcomes.count(SecondFactorInvalid) == CODE_LIMITS.account
    assert await scene.outcome(codes[0], Origin("203.0.113.77")) is TooManyAttempts
    assert await scene.outcome(codes[0], HOME) is None


async def test_no_code_at_all_is_no_attempt(scene: Scene, database: Database) -> None:
    _, codes = await scene.enrol()
    assert {await scene.outcome(None) for _ in range(2 * CODE_LIMITS.account)} == {SecondFactorRequired}
    assert await scene.outcome(codes[0]) is None
    assert await failures(database, scene) == 2 * CODE_LIMITS.account  # written down all the same


async def test_passwords_cannot_be_tried_from_a_session_without_end(scene: Scene) -> None:
    errors = []
    for _ in range(Limits().pair + 1):
        try:
            await scene.enrolments.begin(scene.holder, "wrong")
        except DomainError as error:
            errors.append(type(error))
    assert errors == [CredentialsInvalid] * Limits().pair + [TooManyAttempts]


async def test_of_two_confirmations_at_once_one_shows_codes(scene: Scene) -> None:
    app = App((await scene.enrolments.begin(scene.holder, scene.tenant.password)).secret, scene.clock)
    codes = [read(_code(app, step), "code") for step in (0, 1)]
    confirmations = [scene.enrolments.confirm(scene.holder, code) for code in codes]
    answers = await asyncio.gather(*confirmations, return_exceptions=True)
    assert sorted(type(answer) is SecondFactorEnrolled for answer in answers) == [False, True]
    shown = next(answer for answer in answers if isinstance(answer, list))
    assert await scene.outcome(shown[0]) is None


async def test_no_log_in_slips_in_while_the_factor_is_switched_on(scene: Scene, database: Database) -> None:
    app = App((await scene.enrolments.begin(scene.holder, scene.tenant.password)).secret, scene.clock)
    stranger = Holder(scene.holder.user_id, scene.holder.organization_id, ELSEWHERE)
    async with scene.factors.passed(stranger, None):
        confirming = asyncio.create_task(scene.enrolments.confirm(scene.holder, read(app.code(), "code")))
        await _until_waiting(database)
        assert not confirming.done()
    await confirming
    assert await scene.outcome(None) is SecondFactorRequired


async def _until_waiting(database: Database) -> None:
    """Return when someone waits for an advisory lock."""
    sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(30):
        while True:
            async with database.all_tenants(read_only=True) as statements:
                row = await statements.fetchrow("SELECT locks", sql)
            if row and row["count"]:
                return
            await asyncio.sleep(0.01)


def _code(app: App, steps: int) -> str:
    """The app's code that many steps after the start, which may have been shown before."""
    return App(app.secret, lambda: START + steps * STEP).code()
