"""The audit log as GraphQL shows it."""

import pytest

from tests.gateway.clients import Client, register

EVENTS = """
query ($first: Int! = 50, $after: String, $filter: AuditFilter) {
  auditEvents(first: $first, after: $after, filter: $filter) {
    edges { cursor node { sequence } }
    nodes { sequence time action actor actorType user { displayName } target address details }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
API_KEY = 'mutation { createApiKey(input: { name: "reader", scopes: ["agents:read"] }) { key } }'


async def test_a_registration_is_in_the_log_of_its_organization(stranger: Client) -> None:
    client, *_ = await register(stranger)
    page = (await client.data(EVENTS, first=1))["auditEvents"]
    (event,), (edge,), info = page["nodes"], page["edges"], page["pageInfo"]
    assert (event["sequence"], event["action"], event["actorType"]) == (2, "session.create", "user")
    assert event["user"]["displayName"]
    assert (edge["node"]["sequence"], edge["cursor"]) == (2, info["endCursor"])
    assert (info["hasNextPage"], info["hasPreviousPage"]) == (True, False)
    page = (await client.data(EVENTS, after=info["endCursor"]))["auditEvents"]
    assert [event["action"] for event in page["nodes"]] == ["organization.create"]
    assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (False, True)


FILTERS = {
    "an action": ({"actions": ["organization.create"]}, 1),
    "nobody": ({"actor": "nobody"}, 0),
    "long ago": ({"endTime": "2020-01-01T00:00:00Z"}, 0),
    "since then": ({"startTime": "2020-01-01T00:00:00Z"}, 2),
    "nothing at all": ({"actions": None, "actor": None, "startTime": None, "endTime": None}, 2),
}


@pytest.mark.parametrize(("wanted", "count"), FILTERS.values(), ids=FILTERS)
async def test_filters(stranger: Client, wanted: dict[str, object], count: int) -> None:
    client, *_ = await register(stranger)
    assert len((await client.data(EVENTS, filter=wanted))["auditEvents"]["nodes"]) == count


async def test_whoever_may_not_read_it_is_told(stranger: Client) -> None:
    client, *_ = await register(stranger)
    key = (await client.data(API_KEY))["createApiKey"]["key"]
    error = await Client(stranger.http, key).error(EVENTS)
    assert (error["extensions"]["code"], error["extensions"]["metadata"]) == ("FORBIDDEN", {"permission": "audit:read"})
    error = await client.error(EVENTS, after="nonsense")
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("BAD_USER_INPUT", "PAGE_TOKEN_INVALID")
