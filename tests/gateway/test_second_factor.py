"""The second factor through GraphQL."""

from typing import Any

import pyotp
import pytest

from tests.gateway.clients import PASSWORD, Client, register

STATE = "{ secondFactor { enableTime recoveryCodesLeft } }"
BEGIN = "mutation ($input: BeginTotpInput!) { beginTotp(input: $input) { secret uri } }"
CONFIRM = "mutation ($input: ConfirmTotpInput!) { confirmTotp(input: $input) { recoveryCodes } }"
REGENERATE = (
    "mutation ($input: RegenerateRecoveryCodesInput!) { regenerateRecoveryCodes(input: $input) { recoveryCodes } }"
)
DISABLE = "mutation ($input: DisableTotpInput!) { disableTotp(input: $input) { enableTime recoveryCodesLeft } }"
LOG_IN = "mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }"
OFF = {"enableTime": None, "recoveryCodesLeft": 0}


async def test_a_factor_is_switched_on_asked_for_and_switched_off(stranger: Client) -> None:
    client, _, email = await register(stranger)
    assert (await client.data(STATE))["secondFactor"] == OFF
    begun = (await client.data(BEGIN, input={"password": PASSWORD}))["beginTotp"]
    assert begun["uri"].startswith("otpauth://totp/Neurectomy:")
    code = pyotp.TOTP(begun["secret"]).now()
    codes = (await client.data(CONFIRM, input={"code": code}))["confirmTotp"]["recoveryCodes"]
    state = (await client.data(STATE))["secondFactor"]
    assert (state["recoveryCodesLeft"], state["enableTime"] is None) == (10, False)

    person = {"email": email, "password": PASSWORD}
    tries = [
        ({}, "UNAUTHENTICATED", "SECOND_FACTOR_REQUIRED"),
        ({"secondFactorCode": "aaaa aaaa aaaa aaaa"}, "UNAUTHENTICATED", "SECOND_FACTOR_INVALID"),
        ({"secondFactorCode": code}, "UNAUTHENTICATED", "SECOND_FACTOR_INVALID"),
        ({"secondFactorCode": "no code"}, "BAD_USER_INPUT", "INVALID_FIELDS"),
    ]
    for more, *expected in tries:
        error = await stranger.error(LOG_IN, input={**person, **more})
        assert [error["extensions"]["code"], error["extensions"]["reason"]] == expected
    assert [each["field"] for each in error["extensions"]["violations"]] == ["secondFactorCode"]
    logged_in = await stranger.data(LOG_IN, input={**person, "secondFactorCode": codes[0]})
    again = Client(stranger.http, logged_in["logIn"]["accessToken"])
    off = await again.data(DISABLE, input={"password": PASSWORD, "code": codes[1]})
    assert off["disableTotp"] == (await again.data(STATE))["secondFactor"] == OFF
    await stranger.data(LOG_IN, input=person)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (BEGIN, {"password": "wrong"}, "CREDENTIALS_INVALID"),
    (CONFIRM, {"code": "123456"}, "SECOND_FACTOR_MISSING"),
    (REGENERATE, {"code": "123456"}, "SECOND_FACTOR_MISSING"),
    (DISABLE, {"password": PASSWORD, "code": "123456"}, "SECOND_FACTOR_MISSING"),
    (REGENERATE, {"code": "12345"}, "INVALID_FIELDS"),
]


async def test_what_cannot_be_done_is_said(stranger: Client) -> None:
    client, *_ = await register(stranger)
    for query, given, reason in REFUSED:
        assert (await client.error(query, input=given))["extensions"]["reason"] == reason


@pytest.mark.parametrize("query", [STATE, BEGIN, CONFIRM, REGENERATE, DISABLE])
async def test_an_anonymous_caller_has_no_factor(stranger: Client, query: str) -> None:
    given = {"input": {"password": "x", "code": "123456"}} if query == DISABLE else {"input": {"code": "123456"}}
    given = {"input": {"password": "x"}} if query == BEGIN else {} if query == STATE else given
    assert (await stranger.error(query, **given))["extensions"]["code"] == "FORBIDDEN"
