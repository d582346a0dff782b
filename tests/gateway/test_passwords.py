"""Passwords by GraphQL."""

from uuid import uuid4

from tests.gateway.clients import PASSWORD, Client, register

CHANGE = "mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { changed } }"
REQUEST = "mutation ($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) { accepted } }"
RESET = "mutation ($input: ResetPasswordInput!) { resetPassword(input: $input) { changed } }"
LOG_IN = "mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }"
NEW = "another horse battery staple"


async def test_a_password_is_changed(stranger: Client) -> None:
    client, _, email = await register(stranger)
    wrong = await client.error(CHANGE, input={"currentPassword": "not this one, no", "newPassword": NEW})
    assert wrong["extensions"]["reason"] == "CREDENTIALS_INVALID"
    short = await client.error(CHANGE, input={"currentPassword": PASSWORD, "newPassword": "short"})
    assert [each["field"] for each in short["extensions"]["violations"]] == ["newPassword"]
    changed = await client.data(CHANGE, input={"currentPassword": PASSWORD, "newPassword": NEW})
    assert changed == {"changePassword": {"changed": True}}
    assert (await stranger.data(LOG_IN, input={"email": email, "password": NEW}))["logIn"]["accessToken"]


async def test_a_reset_of_nobodys_is_accepted_too(stranger: Client) -> None:
    accepted = await stranger.data(REQUEST, input={"email": f"{uuid4()}@example.org"})
    assert accepted == {"requestPasswordReset": {"accepted": True}}


async def test_a_wrong_code_is_bad_input(stranger: Client) -> None:
    error = await stranger.error(RESET, input={"code": "nrctmy_reset_guess", "newPassword": NEW})
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("BAD_USER_INPUT", "CODE_INVALID")
