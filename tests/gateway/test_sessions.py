"""Log-ins and API keys as a client of the gateway has them."""

from typing import Any

from tests.gateway.clients import PASSWORD, Client, register

LOG_IN = """
mutation ($input: LogInInput!) {
  logIn(input: $input) { accessToken expireTime refreshToken refreshTokenExpireTime organization { id } }
}
"""
REFRESH = """
mutation ($token: String!) {
  refresh(refreshToken: $token) { accessToken expireTime refreshToken refreshTokenExpireTime }
}
"""
SESSIONS = """
query ($userId: ID) {
  sessions(userId: $userId) { id organization { id name } device address createTime useTime expireTime endTime current }
}
"""
REVOKE = "mutation ($id: ID!) { revokeSession(id: $id) { id endTime current } }"
REVOKE_ALL = "mutation ($all: Boolean) { revokeSessions(includeCurrent: $all) }"
REVOKE_OTHERS = "mutation { revokeSessions }"
SWITCH = """
mutation ($id: ID!) {
  switchOrganization(organizationId: $id) { accessToken refreshToken user { id } organization { id } }
}
"""
CREATE = """
mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { id key details { id name scopes state } } }
"""
KEYS = """
{ apiKeys { id name prefix scopes user { id displayName } createTime expireTime useTime revokeTime state } }
"""
REVOKE_KEY = "mutation ($id: ID!) { revokeApiKey(id: $id) { id state revokeTime } }"
ROTATE = """
mutation ($input: RotateApiKeyInput!) {
  rotateApiKey(input: $input) { id key details { name scopes state } old { id state expireTime } }
}
"""


async def _log_in(stranger: Client, email: str) -> dict[str, Any]:
    answer = await stranger.data(LOG_IN, input={"email": email, "password": PASSWORD})
    logged_in: dict[str, Any] = answer["logIn"]
    return logged_in


async def test_a_client_stays_logged_in_and_logs_out(stranger: Client) -> None:
    _, _, email = await register(stranger)
    first = await _log_in(stranger, email)
    second = (await stranger.data(REFRESH, token=first["refreshToken"]))["refresh"]
    assert second["refreshToken"] != first["refreshToken"]
    assert second["refreshTokenExpireTime"] >= first["refreshTokenExpireTime"] > first["expireTime"]
    client = Client(stranger.http, second["accessToken"])
    assert await client.data("mutation { logOut }") == {"logOut": True}
    error = await stranger.error(REFRESH, token=second["refreshToken"])
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("UNAUTHENTICATED", "TOKEN_REVOKED")


async def test_a_token_of_nothing_is_refused_typed(stranger: Client) -> None:
    for token in ("", "no token", "nrctmy_refresh_" + "a" * 43):
        error = await stranger.error(REFRESH, token=token)
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("UNAUTHENTICATED", "TOKEN_INVALID")
        assert not token or token not in str(error)


async def test_a_user_sees_and_ends_their_sessions(stranger: Client) -> None:
    client, registered, email = await register(stranger)
    await _log_in(stranger, email)
    there, here = (await client.data(SESSIONS))["sessions"]
    assert (there["current"], here["current"], here["endTime"]) == (False, True, None)
    assert here["organization"] == {"id": registered["organization"]["id"], "name": "Works"}
    revoked = (await client.data(REVOKE, id=there["id"]))["revokeSession"]
    assert (revoked["id"], revoked["current"], revoked["endTime"] is None) == (there["id"], False, False)
    assert [each["id"] for each in (await client.data(SESSIONS))["sessions"]] == [here["id"]]
    await _log_in(stranger, email)
    assert await client.data(REVOKE_OTHERS) == {"revokeSessions": 1}
    assert await client.data(REVOKE_ALL, all=True) == {"revokeSessions": 1}
    error = await client.error(REVOKE, id="no uuid")
    assert error["extensions"]["code"] in {"NOT_FOUND", "UNAUTHENTICATED"}


async def test_a_user_goes_over_to_an_organization_of_theirs_only(stranger: Client) -> None:
    client, registered, _ = await register(stranger)
    _, other, _ = await register(stranger)
    own = registered["organization"]["id"]
    switched = (await client.data(SWITCH, id=own))["switchOrganization"]
    assert (switched["organization"]["id"], switched["user"]["id"]) == (own, registered["user"]["id"])
    assert await Client(stranger.http, switched["accessToken"]).data("{ me { user { id } } }")
    error = await client.error(SWITCH, id=other["organization"]["id"])
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("NOT_FOUND", "ORGANIZATION_NOT_FOUND")


async def test_api_keys_are_made_seen_rotated_and_revoked(stranger: Client) -> None:
    client, registered, _ = await register(stranger)
    made = (await client.data(CREATE, input={"name": "ci", "scopes": ["agents:read"]}))["createApiKey"]
    about = {"name": "ci", "scopes": ["agents:read"], "state": "ACTIVE"}
    assert made["details"] == {"id": made["id"], **about}
    [listed] = (await client.data(KEYS))["apiKeys"]
    assert listed.items() >= about.items()
    assert listed["user"] == {"id": registered["user"]["id"], "displayName": "Ada"}
    assert made["key"].startswith(listed["prefix"])
    rotated = (await client.data(ROTATE, input={"id": made["id"], "overlapSeconds": 60}))["rotateApiKey"]
    assert rotated["details"] == about
    assert (rotated["old"]["id"], rotated["old"]["state"]) == (made["id"], "ACTIVE")
    for key in (made["key"], rotated["key"]):
        assert (await Client(stranger.http, key).data("{ agents { id } }"))["agents"] == []
    revoked = (await client.data(REVOKE_KEY, id=rotated["id"]))["revokeApiKey"]
    assert (revoked["id"], revoked["state"], revoked["revokeTime"] is None) == (rotated["id"], "REVOKED", False)


async def test_what_is_wrong_with_a_key_is_said(stranger: Client) -> None:
    client, *_ = await register(stranger)
    error = await client.error(CREATE, input={"name": "", "scopes": ["agents:fly"]})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert {each["field"] for each in error["extensions"]["violations"]} == {"name", "scopes"}
    for mutation, variables in ((REVOKE_KEY, {"id": "no uuid"}), (ROTATE, {"input": {"id": "no uuid"}})):
        error = await client.error(mutation, **variables)
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("NOT_FOUND", "API_KEY_NOT_FOUND")
    script = (await client.data(CREATE, input={"name": "reader", "scopes": ["agents:read"]}))["createApiKey"]
    error = await Client(stranger.http, script["key"]).error(KEYS)
    assert error["extensions"]["code"] == "FORBIDDEN"
