"""Changing and resetting passwords over real gRPC: what ends, who is told, and what a stranger learns."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import argon2
import grpc
import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import passwords_pb2 as pb
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.passwords_pb2_grpc import PasswordsServiceStub
from services.auth.audit import INSTALLATION
from services.runtime import postgres
from services.runtime.postgres import Database, Row
from tests.conftest import PASSWORD, Connect, Tenant, reason
from tests.services.auth.mailbox import SETTLE_SECONDS, mail_to

NEW = "another horse battery staple"


@pytest_asyncio.fixture(loop_scope="session")
async def database(stack: Stack) -> AsyncIterator[Database]:
    async with postgres.connect(stack.database_url("auth"), max_size=5, init=postgres.jsonb_as_objects) as connected:
        yield connected


async def rows(database: Database, sql: str, *values: object) -> list[Row]:
    async with database.all_tenants() as statements:
        return await statements.fetch("look", sql, *values)


async def refusal(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)


async def log_in(connect_as: Connect, tenant: Tenant, password: str) -> str:
    request = auth_pb2.LogInRequest(email=tenant.email, password=password)
    return str((await connect_as(AuthServiceStub).LogIn(request)).access_token.token)


async def code_for(stack: Stack, connect_as: Connect, tenant: Tenant) -> str:
    await connect_as(PasswordsServiceStub).RequestPasswordReset(
        pb.RequestPasswordResetRequest(email=tenant.email.upper())
    )
    mail = await mail_to(stack, tenant.email, "Reset")
    found = re.search(r"\s(nrctmy_reset_\S+)\s", mail.get_content())
    assert found is not None
    return found[1]


async def sessions(database: Database, tenant: Tenant) -> dict[str, int]:
    """How many of the user's sessions go on, have ended, and are revoked."""
    found = await rows(
        database,
        """
        SELECT count(*) FILTER (WHERE ended_at IS NULL) AS live, count(ended_at) AS ended, count(key) AS revoked
        FROM sessions LEFT JOIN revocations ON kind = 'session' AND key = session_id::text WHERE user_id = $1
        """,
        UUID(tenant.user_id),
    )
    return dict(found[0])


async def actions(database: Database, organization_id: UUID) -> list[str]:
    found = await rows(
        database, "SELECT action FROM audit_entries WHERE organization_id = $1 ORDER BY sequence", organization_id
    )
    return [row["action"] for row in found]


async def test_a_change_ends_the_other_sessions(
    stack: Stack, connect_as: Connect, database: Database, tenant: Tenant
) -> None:
    await log_in(connect_as, tenant, PASSWORD)
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW)
    await connect_as(PasswordsServiceStub, tenant).ChangePassword(request)
    assert await sessions(database, tenant) == {"live": 1, "ended": 1, "revoked": 1}
    assert await refusal(log_in(connect_as, tenant, PASSWORD)) == "CREDENTIALS_INVALID"
    await log_in(connect_as, tenant, NEW)
    assert "127.0.0.1" in (await mail_to(stack, tenant.email, "changed")).get_content()
    assert (await actions(database, tenant.organization_id))[-3:] == [
        "password.change",
        "log_in.fail",
        "session.create",
    ]


REFUSED = {
    "wrong password": ({"current_password": "not this one, no"}, "CREDENTIALS_INVALID"),
    "short": ({"new_password": "short"}, "INVALID_FIELDS"),
    "endless": ({"new_password": "x" * 257}, "INVALID_FIELDS"),
}


@pytest.mark.parametrize(("change", "expected"), REFUSED.values(), ids=REFUSED)
async def test_a_change_is_refused(connect_as: Connect, tenant: Tenant, change: dict[str, str], expected: str) -> None:
    request = pb.ChangePasswordRequest(**{"current_password": PASSWORD, "new_password": NEW, **change})
    assert await refusal(connect_as(PasswordsServiceStub, tenant).ChangePassword(request)) == expected
    await log_in(connect_as, tenant, PASSWORD)


async def test_two_changes_at_once_are_one(connect_as: Connect, tenant: Tenant) -> None:
    requests = [pb.ChangePasswordRequest(current_password=PASSWORD, new_password=f"{NEW} {each}") for each in range(2)]
    calls = (connect_as(PasswordsServiceStub, tenant).ChangePassword(request) for request in requests)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(each, grpc.aio.AioRpcError) for each in outcomes].count(True) == 1


async def test_only_users_have_a_password(connect_as: Connect) -> None:
    anonymous = await connect_as(AuthServiceStub).CreateAnonymousToken(auth_pb2.CreateAnonymousTokenRequest())
    stub = connect_as(PasswordsServiceStub, anonymous.access_token.token)
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW)
    assert await refusal(stub.ChangePassword(request)) == "USER_NOT_FOUND"


async def test_a_code_resets_once_and_ends_everything(
    stack: Stack, connect_as: Connect, database: Database, tenant: Tenant
) -> None:
    code, stub = await code_for(stack, connect_as, tenant), connect_as(PasswordsServiceStub)
    assert (
        await refusal(stub.ResetPassword(pb.ResetPasswordRequest(code=code, new_password="short"))) == "INVALID_FIELDS"
    )
    requests = [pb.ResetPasswordRequest(code=code, new_password=f"{NEW} {each}") for each in range(2)]
    outcomes = await asyncio.gather(*(stub.ResetPassword(request) for request in requests), return_exceptions=True)
    [won] = [each for each, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)]
    assert await refusal(stub.ResetPassword(requests[won])) == "CODE_INVALID"
    assert await sessions(database, tenant) == {"live": 0, "ended": 1, "revoked": 1}
    await log_in(connect_as, tenant, f"{NEW} {won}")
    await mail_to(stack, tenant.email, "changed")
    assert {"password.request_reset", "password.reset"} <= set(await actions(database, tenant.organization_id))


async def test_a_change_spoils_codes(stack: Stack, connect_as: Connect, tenant: Tenant) -> None:
    code = await code_for(stack, connect_as, tenant)
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW)
    await connect_as(PasswordsServiceStub, tenant).ChangePassword(request)
    reset = pb.ResetPasswordRequest(code=code, new_password=NEW)
    assert await refusal(connect_as(PasswordsServiceStub).ResetPassword(reset)) == "CODE_INVALID"


async def test_a_code_ends(stack: Stack, connect_as: Connect, database: Database, tenant: Tenant) -> None:
    code = await code_for(stack, connect_as, tenant)
    await rows(database, "UPDATE password_resets SET expires_at = now() WHERE user_id = $1", UUID(tenant.user_id))
    reset = pb.ResetPasswordRequest(code=code, new_password=NEW)
    assert await refusal(connect_as(PasswordsServiceStub).ResetPassword(reset)) == "CODE_INVALID"


@pytest.mark.parametrize("code", ["", "nrctmy_reset_guess", "x" * 100_000, "\N{SNOWMAN}\0"])
async def test_a_wrong_code_is_refused(connect_as: Connect, code: str) -> None:
    reset = pb.ResetPasswordRequest(code=code, new_password=NEW)
    assert await refusal(connect_as(PasswordsServiceStub).ResetPassword(reset)) == "CODE_INVALID"


async def test_codes_are_not_in_the_database(
    stack: Stack, connect_as: Connect, database: Database, tenant: Tenant
) -> None:
    code = (await code_for(stack, connect_as, tenant)).encode()
    found = await rows(database, "SELECT sha256 FROM password_resets WHERE user_id = $1", UUID(tenant.user_id))
    assert [row["sha256"] for row in found if code not in row["sha256"]]


async def test_a_reset_for_nobody_does_the_same_and_sends_nothing(
    stack: Stack, connect_as: Connect, database: Database
) -> None:
    email = f"{uuid4()}@example.org"
    request = pb.RequestPasswordResetRequest(email=email)
    answer = await connect_as(PasswordsServiceStub).RequestPasswordReset(request)
    assert answer == pb.RequestPasswordResetResponse()
    assert await actions(database, INSTALLATION)
    async with asyncio.timeout(SETTLE_SECONDS):
        while await rows(database, "SELECT FROM mails WHERE tries = 0"):  # noqa: ASYNC110 - auth takes them
            await asyncio.sleep(0.05)
    assert not [file for file in stack.mail_folder.glob("*.eml") if email in file.read_text()]


async def test_resets_of_one_account_are_few_whether_or_not_it_exists(connect_as: Connect, tenant: Tenant) -> None:
    stub = connect_as(PasswordsServiceStub)
    for email in (tenant.email, f"{uuid4()}@example.org"):
        request = pb.RequestPasswordResetRequest(email=email)
        for _ in range(3):
            await stub.RequestPasswordReset(request)
        assert await refusal(stub.RequestPasswordReset(request)) == "TOO_MANY_ATTEMPTS"


async def test_failed_log_ins_are_written_down_without_strangers_addresses(
    connect_as: Connect, database: Database, tenant: Tenant
) -> None:
    nobody = f"{uuid4()}@example.org"
    for email in (tenant.email, nobody):
        request = auth_pb2.LogInRequest(email=email, password="not this one, no")
        assert await refusal(connect_as(AuthServiceStub).LogIn(request)) == "CREDENTIALS_INVALID"
    newest = "SELECT * FROM audit_entries WHERE organization_id = $1 ORDER BY sequence DESC LIMIT 1"
    [known], [unknown] = [await rows(database, newest, each) for each in (tenant.organization_id, INSTALLATION)]
    for entry, target in ((known, tenant.user_id), (unknown, "")):
        assert (entry["action"], entry["actor_type"], entry["target"]) == ("log_in.fail", "stranger", target)
        assert entry["address"] == "127.0.0.1"
        assert set(entry["details"]) == {"account"}
    assert nobody not in str(dict(unknown))


async def test_a_hash_of_old_parameters_is_replaced_at_log_in(
    stack: Stack, connect_as: Connect, database: Database, tenant: Tenant
) -> None:
    old = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    await rows(database, "UPDATE users SET password_hash = $2 WHERE user_id = $1", UUID(tenant.user_id), old)
    await log_in(connect_as, tenant, PASSWORD)
    [row] = await rows(database, "SELECT password_hash FROM users WHERE user_id = $1", UUID(tenant.user_id))
    assert row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
