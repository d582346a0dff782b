"""The second factor over real gRPC: how it is switched on and off, and what log-ins make of it."""

import asyncio
import email
import email.policy
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import grpc
import jwt
import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from neurectomy.auth.v1 import api_keys_pb2, auth_pb2, passwords_pb2
from neurectomy.auth.v1 import second_factor_pb2 as pb
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.passwords_pb2_grpc import PasswordsServiceStub
from neurectomy.auth.v1.second_factor_pb2_grpc import SecondFactorServiceStub
from services.runtime import postgres
from services.runtime.postgres import Database
from tests.conftest import Connect, Tenant, reason, register, service_token
from tests.services.auth.second_factors import App, Enrolled, enrolled, log_in

REFUSED = {"SECOND_FACTOR_INVALID", "TOO_MANY_ATTEMPTS"}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def database(stack: Stack) -> AsyncIterator[Database]:
    """What the auth process sees."""
    url = stack.database_url("auth")
    async with postgres.connect(url, max_size=10, init=postgres.jsonb_as_objects) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def user(connect_as: Connect) -> Enrolled:
    """Whose factor is on, and stays as it is."""
    return await enrolled(connect_as)


async def refusal(call: Any) -> str:
    """The reason that the call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)


async def state(connect_as: Connect, caller: Tenant) -> tuple[bool, int]:
    answer = await connect_as(SecondFactorServiceStub, caller).GetSecondFactor(pb.GetSecondFactorRequest())
    return answer.HasField("enable_time"), answer.recovery_codes_left


async def deeds(database: Database, organization_id: UUID) -> list[Any]:
    """The organization's audit entries that tell of second factors, the oldest first."""
    sql = """SELECT * FROM audit_entries WHERE organization_id = $1 AND action ~ '^(second_factor|recovery_code)'
             ORDER BY sequence"""
    async with database.tenant(organization_id, read_only=True) as statements:
        return await statements.fetch("SELECT audit", sql, organization_id)


async def mails(stack: Stack, recipient: str, subject: str) -> list[str]:
    """The texts of what was sent, once there is something."""
    async with asyncio.timeout(60):
        while True:
            files = [
                email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
                for file in stack.mail_folder.glob("*.eml")
            ]
            found = [each for each in files if each["To"] == recipient and subject in str(each["Subject"])]
            if found:
                return [str(each.get_content()) for each in found]
            await asyncio.sleep(0.1)


async def test_a_factor_is_off_until_the_apps_first_code(connect_as: Connect, tenant: Tenant) -> None:
    factor, anyone = connect_as(SecondFactorServiceStub, tenant), connect_as(AuthServiceStub)
    password_alone = auth_pb2.LogInRequest(email=tenant.email, password=tenant.password)
    assert await state(connect_as, tenant) == (False, 0)
    begun = await factor.BeginTotp(pb.BeginTotpRequest(password=tenant.password))
    uri = urlsplit(begun.uri)
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", f"/Neurectomy:{tenant.email.replace('@', '%40')}")
    assert parse_qs(uri.query) == {"secret": [begun.secret], "issuer": ["Neurectomy"]}
    assert await state(connect_as, tenant) == (False, 0)
    await anyone.LogIn(password_alone)

    app = App(begun.secret)
    codes = (await factor.ConfirmTotp(pb.ConfirmTotpRequest(code=app.code()))).recovery_codes
    assert len(set(codes)) == 10
    assert await state(connect_as, tenant) == (True, 10)
    assert await refusal(anyone.LogIn(password_alone)) == "SECOND_FACTOR_REQUIRED"
    assert (await anyone.LogIn(Enrolled(tenant, app).log_in(app.code()))).user.id == tenant.user_id


async def test_another_enrolment_forgets_the_one_before(connect_as: Connect, tenant: Tenant) -> None:
    factor = connect_as(SecondFactorServiceStub, tenant)
    first, second = [(await factor.BeginTotp(pb.BeginTotpRequest(password=tenant.password))).secret for _ in range(2)]
    assert await refusal(factor.ConfirmTotp(pb.ConfirmTotpRequest(code=App(first).code()))) == "SECOND_FACTOR_INVALID"
    await factor.ConfirmTotp(pb.ConfirmTotpRequest(code=App(second).code()))


async def test_a_recovery_code_is_good_once(connect_as: Connect, user: Enrolled) -> None:
    anyone, code = connect_as(AuthServiceStub), user.recovery_codes[0].upper().replace("-", " ")
    _, left = await state(connect_as, user.tenant)
    await anyone.LogIn(user.log_in(code))
    assert await state(connect_as, user.tenant) == (True, left - 1)
    assert await refusal(anyone.LogIn(user.log_in(code))) == "SECOND_FACTOR_INVALID"
    await anyone.LogIn(user.log_in(user.recovery_codes[1]))  # and counting starts anew


@pytest.mark.parametrize("kind", ["totp", "recovery"])
async def test_of_parallel_log_ins_with_one_code_one_succeeds(connect_as: Connect, kind: str) -> None:
    user = await enrolled(connect_as)
    code = user.app.code() if kind == "totp" else user.recovery_codes[0]
    log_ins = [connect_as(AuthServiceStub).LogIn(user.log_in(code)) for _ in range(4)]
    answers = await asyncio.gather(*log_ins, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(errors) == 3
    assert {reason(error) for error in errors} <= REFUSED
    assert await state(connect_as, user.tenant) == (True, 10 if kind == "totp" else 9)


async def test_nothing_is_said_of_the_factor_before_the_password_was_right(connect_as: Connect, user: Enrolled) -> None:
    wrong = "wrong and long enough"
    attempts = [
        user.log_in("", wrong),
        user.log_in(user.app.wrong_code(), wrong),
        user.log_in(user.recovery_codes[2], wrong),
        auth_pb2.LogInRequest(email="nobody@example.org", password=wrong, second_factor_code="123456"),
    ]
    seen = set()
    for attempt in attempts:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await connect_as(AuthServiceStub).LogIn(attempt)
        seen.add((caught.value.code(), caught.value.details(), reason(caught.value)))
    assert {each[2] for each in seen} == {"CREDENTIALS_INVALID"}
    assert len(seen) == 1
    await connect_as(AuthServiceStub).LogIn(user.log_in(user.recovery_codes[2]))  # it was not used up


MALFORMED = ["12345", "1234567", "abcdef", "0" * 10_000, "12345\0"]
TAKING: dict[str, Callable[[str], Any]] = {
    "ConfirmTotp": lambda code: pb.ConfirmTotpRequest(code=code),
    "RegenerateRecoveryCodes": lambda code: pb.RegenerateRecoveryCodesRequest(code=code),
    "DisableTotp": lambda code: pb.DisableTotpRequest(password="correct horse battery staple", code=code),
}


@pytest.mark.parametrize("code", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_can_be_no_code_is_refused_and_counts_as_no_attempt(
    connect_as: Connect, user: Enrolled, code: str
) -> None:
    nobody = auth_pb2.LogInRequest(email="nobody@example.org", password="x", second_factor_code=code)
    for request in (user.log_in(code), nobody):
        assert await refusal(connect_as(AuthServiceStub).LogIn(request)) == "INVALID_FIELDS"
    factor = connect_as(SecondFactorServiceStub, user.tenant)
    for name, asking in TAKING.items():
        for text in (code, ""):
            assert await refusal(getattr(factor, name)(asking(text))) == "INVALID_FIELDS"


async def test_a_recovery_code_neither_confirms_nor_multiplies(connect_as: Connect, user: Enrolled) -> None:
    factor, code = connect_as(SecondFactorServiceStub, user.tenant), user.recovery_codes[3]
    for name in ("ConfirmTotp", "RegenerateRecoveryCodes"):
        assert await refusal(getattr(factor, name)(TAKING[name](code))) == "INVALID_FIELDS"


async def test_an_enrolment_is_refused_where_there_is_one_or_the_password_is_wrong(
    connect_as: Connect, user: Enrolled, other_tenant: Tenant
) -> None:
    factor, other = [connect_as(SecondFactorServiceStub, each) for each in (user.tenant, other_tenant)]
    begin, code = pb.BeginTotpRequest(password=user.tenant.password), user.app.wrong_code()
    assert await refusal(factor.BeginTotp(begin)) == "SECOND_FACTOR_ENROLLED"
    assert await refusal(factor.ConfirmTotp(TAKING["ConfirmTotp"](code))) == "SECOND_FACTOR_ENROLLED"
    assert await refusal(other.BeginTotp(pb.BeginTotpRequest(password="wrong"))) == "CREDENTIALS_INVALID"
    for name, asking in TAKING.items():
        assert await refusal(getattr(other, name)(asking(code))) == "SECOND_FACTOR_MISSING"


ASKING: dict[str, Any] = {
    "GetSecondFactor": pb.GetSecondFactorRequest(),
    "BeginTotp": pb.BeginTotpRequest(password="correct horse battery staple"),
    **{name: asking("123456") for name, asking in TAKING.items()},
}


@pytest.mark.parametrize("name", ASKING)
async def test_only_a_users_own_session_will_do(
    connect_as: Connect, stack: Stack, other_tenant: Tenant, name: str
) -> None:
    made = await connect_as(ApiKeysServiceStub, other_tenant).CreateApiKey(api_keys_pb2.CreateApiKeyRequest(name="all"))
    anonymous = await connect_as(AuthServiceStub).CreateAnonymousToken(auth_pb2.CreateAnonymousTokenRequest())
    for token in (made.key, anonymous.access_token.token, await service_token(stack, "graph")):
        call = getattr(connect_as(SecondFactorServiceStub, token), name)(ASKING[name])
        assert await refusal(call) == "PERMISSION_MISSING"
    assert await refusal(getattr(connect_as(SecondFactorServiceStub), name)(ASKING[name])) == "TOKEN_MISSING"


async def test_switching_on_ends_the_other_sessions(connect_as: Connect, database: Database) -> None:
    tenant = await register(connect_as)
    password_alone = auth_pb2.LogInRequest(email=tenant.email, password=tenant.password)
    mine = await log_in(connect_as, password_alone)
    user = await enrolled(connect_as, mine)
    sql = "SELECT session_id::text, ended_at, end_reason FROM sessions WHERE user_id = $1"
    async with database.tenant(tenant.organization_id, read_only=True) as statements:
        sessions = await statements.fetch("SELECT sessions", sql, UUID(tenant.user_id))
        revoked = await statements.fetch("SELECT revocations", "SELECT key FROM revocations WHERE kind = 'session'")
    ended = {row["session_id"] for row in sessions if row["ended_at"]}
    kept = jwt.decode(mine.token, options={"verify_signature": False})["sid"]
    assert ended == {row["session_id"] for row in sessions} - {kept} == {row["key"] for row in revoked}
    assert len(ended) == 1
    assert await state(connect_as, mine) == (True, 10)
    enabled = (await deeds(database, tenant.organization_id))[-1]
    assert (enabled["action"], enabled["details"]) == ("second_factor.enable", {"sessions_ended": "1"})
    await log_in(connect_as, user.log_in(user.recovery_codes[0]))


async def test_switching_off_takes_password_and_code_and_is_told_by_mail(connect_as: Connect, stack: Stack) -> None:
    user = await enrolled(connect_as)
    factor, anyone = connect_as(SecondFactorServiceStub, user.tenant), connect_as(AuthServiceStub)
    good, wrong = user.recovery_codes[0], user.app.wrong_code()

    def disable(password: str, code: str) -> Any:
        return factor.DisableTotp(pb.DisableTotpRequest(password=password, code=code))

    assert await refusal(disable("wrong", good)) == "CREDENTIALS_INVALID"
    assert await refusal(disable(user.tenant.password, wrong)) == "SECOND_FACTOR_INVALID"
    assert await state(connect_as, user.tenant) == (True, 10)
    assert len(await mails(stack, user.tenant.email, "asks for a second factor now")) == 1
    await disable(user.tenant.password, good)
    assert len(await mails(stack, user.tenant.email, "asks for no second factor any more")) == 1
    assert await state(connect_as, user.tenant) == (False, 0)
    assert await refusal(disable(user.tenant.password, good)) == "SECOND_FACTOR_MISSING"
    await anyone.LogIn(user.log_in())
    await anyone.LogIn(user.log_in(user.recovery_codes[1]))  # not looked at

    again = await enrolled(connect_as, user.tenant)
    for stale in (user.app.code(), user.recovery_codes[1]):
        assert await refusal(anyone.LogIn(again.log_in(stale))) == "SECOND_FACTOR_INVALID"


async def test_a_reset_password_is_not_enough(connect_as: Connect, stack: Stack) -> None:
    user, passwords = await enrolled(connect_as), connect_as(PasswordsServiceStub)
    await passwords.RequestPasswordReset(passwords_pb2.RequestPasswordResetRequest(email=user.tenant.email))
    (text,) = await mails(stack, user.tenant.email, "password")
    code, new = re.findall(r"nrctmy_reset_[\w-]+", text)[0], "another one that is long enough"
    await passwords.ResetPassword(passwords_pb2.ResetPasswordRequest(code=code, new_password=new))
    anyone = connect_as(AuthServiceStub)
    assert await refusal(anyone.LogIn(user.log_in("", new))) == "SECOND_FACTOR_REQUIRED"
    await anyone.LogIn(user.log_in(user.app.code(), new))


async def test_new_recovery_codes_replace_the_ones_before(connect_as: Connect) -> None:
    user = await enrolled(connect_as)
    request = pb.RegenerateRecoveryCodesRequest(code=user.app.code())
    factor, anyone = connect_as(SecondFactorServiceStub, user.tenant), connect_as(AuthServiceStub)
    codes = (await factor.RegenerateRecoveryCodes(request)).recovery_codes
    assert await refusal(factor.RegenerateRecoveryCodes(request)) == "SECOND_FACTOR_INVALID"
    assert await refusal(anyone.LogIn(user.log_in(user.recovery_codes[0]))) == "SECOND_FACTOR_INVALID"
    await anyone.LogIn(user.log_in(codes[0]))
    assert await state(connect_as, user.tenant) == (True, 9)


async def test_a_row_that_is_copied_to_another_user_opens_nothing(connect_as: Connect, database: Database) -> None:
    thief, victim = [await enrolled(connect_as) for _ in range(2)]
    ids = UUID(thief.tenant.user_id), UUID(victim.tenant.user_id)
    async with database.all_tenants() as statements:
        secret = """UPDATE second_factors SET last_step = 0,
                    secret = (SELECT secret FROM second_factors WHERE user_id = $1) WHERE user_id = $2"""
        await statements.execute("COPY", secret, *ids)
        codes = "INSERT INTO recovery_codes SELECT $2, sha256 FROM recovery_codes WHERE user_id = $1"
        await statements.execute("COPY", codes, *ids)
    anyone = connect_as(AuthServiceStub)
    assert await refusal(anyone.LogIn(victim.log_in(thief.app.code()))) == "INTERNAL"
    assert await refusal(anyone.LogIn(victim.log_in(thief.recovery_codes[0]))) == "SECOND_FACTOR_INVALID"
    await anyone.LogIn(victim.log_in(victim.recovery_codes[0]))


async def test_all_of_it_is_audited_in_each_of_the_users_organizations_and_without_secrets(
    connect_as: Connect, database: Database, other_tenant: Tenant
) -> None:
    tenant = await register(connect_as)
    joined = "INSERT INTO memberships (organization_id, user_id, role) VALUES ($1, $2, 'viewer')"
    async with database.tenant(other_tenant.organization_id) as statements:
        await statements.execute("INSERT", joined, other_tenant.organization_id, UUID(tenant.user_id))
    user = await enrolled(connect_as, tenant)
    factor, anyone = connect_as(SecondFactorServiceStub, tenant), connect_as(AuthServiceStub)
    await refusal(anyone.LogIn(user.log_in(user.app.wrong_code())))
    await anyone.LogIn(user.log_in(user.recovery_codes[0]))
    await refusal(factor.DisableTotp(pb.DisableTotpRequest(password="wrong", code=user.recovery_codes[1])))
    code = user.app.code()
    codes = (await factor.RegenerateRecoveryCodes(pb.RegenerateRecoveryCodesRequest(code=code))).recovery_codes
    await factor.DisableTotp(pb.DisableTotpRequest(password=tenant.password, code=codes[0]))

    here, there = [await deeds(database, each.organization_id) for each in (tenant, other_tenant)]
    me = tenant.user_id
    assert [(row["action"], row["actor"], row["actor_type"], row["target"], row["details"]) for row in here] == [
        ("second_factor.begin", me, "user", me, {}),
        ("second_factor.enable", me, "user", me, {"sessions_ended": "0"}),
        ("second_factor.fail", "", "stranger", me, {"proof": "totp"}),
        ("recovery_code.use", me, "user", me, {}),
        ("second_factor.fail", me, "user", me, {"proof": "password"}),
        ("recovery_code.regenerate", me, "user", me, {}),
        ("second_factor.disable", me, "user", me, {}),
        ("recovery_code.use", me, "user", me, {}),
    ]
    assert [row["action"] for row in there if row["target"] == me] == [
        "second_factor.begin",
        "second_factor.enable",
        "recovery_code.regenerate",
        "second_factor.disable",
    ]
    told = str([dict(row) for row in here + there])
    assert not [secret for secret in (user.app.secret, code, *user.recovery_codes, *codes) if secret in told]


async def test_what_is_stored_tells_no_code(connect_as: Connect, database: Database, user: Enrolled) -> None:
    user_id = UUID(user.tenant.user_id)
    async with database.all_tenants(read_only=True) as statements:
        factor = await statements.fetchrow("SELECT", "SELECT secret FROM second_factors WHERE user_id = $1", user_id)
        codes = await statements.fetch("SELECT", "SELECT sha256 FROM recovery_codes WHERE user_id = $1", user_id)
    assert factor is not None
    assert user.app.secret.encode() not in factor["secret"]
    assert {len(row["sha256"]) for row in codes} == {32}


async def test_a_user_of_an_unknown_organization_learns_nothing(connect_as: Connect, user: Enrolled) -> None:
    request = user.log_in(user.recovery_codes[4])
    request.organization_id = str(uuid4())
    assert await refusal(connect_as(AuthServiceStub).LogIn(request)) == "CREDENTIALS_INVALID"
    await connect_as(AuthServiceStub).LogIn(user.log_in(user.recovery_codes[4]))
