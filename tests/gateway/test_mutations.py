"""What can be changed, and what a client is told when it cannot."""

from typing import Any
from uuid import uuid4

import pytest

from tests.gateway.clients import (
    COLLABORATORS,
    CREATE_AGENT,
    DOCUMENT,
    FINISH,
    INGEST,
    PASSWORD,
    RELATE,
    START,
    Client,
    World,
    make_agent,
    register,
)

UPDATE = "mutation ($input: UpdateAgentInput!) { updateAgent(input: $input) { name description tags status etag } }"
LOG_IN = "mutation ($input: LogInInput!) { logIn(input: $input) { accessToken user { displayName } } }"
API_KEY = "mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { id key } }"
UNRELATE = "mutation ($input: RelationInput!) { deleteRelation(input: $input) { type source { name } } }"
NAMES = "{ agents { name } }"


async def test_an_agent_is_created_and_changed_by_whoever_registered(stranger: Client) -> None:
    client, _, email = await register(stranger)
    agent_id = await make_agent(client, name="Draft", description="one", tags=["a"], systemPrompt="be kind")
    changed = await client.data(UPDATE, input={"id": agent_id, "name": "Final", "status": "ACTIVE", "tags": None})
    agent = changed["updateAgent"]
    assert {**agent, "etag": ""} == {"name": "Final", "description": "one", "tags": [], "status": "ACTIVE", "etag": ""}

    logged_in = (await stranger.data(LOG_IN, input={"email": email, "password": PASSWORD}))["logIn"]
    again = Client(stranger.http, logged_in["accessToken"])
    assert (await again.data(NAMES))["agents"] == [{"name": "Final"}]


async def test_a_stale_etag_is_a_conflict_that_says_the_current_one(stranger: Client) -> None:
    client, *_ = await register(stranger)
    created = (await client.data(CREATE_AGENT, input={"name": "One"}))["createAgent"]
    first, agent_id = created["etag"], created["id"]
    current = (await client.data(UPDATE, input={"id": agent_id, "etag": first, "name": "Two"}))["updateAgent"]["etag"]

    error = await client.error(UPDATE, input={"id": agent_id, "etag": first, "name": "Three"})
    assert error["extensions"]["code"] == "CONFLICT"
    assert error["extensions"]["reason"] == "STALE_ETAG"
    assert error["extensions"]["metadata"] == {"etag": current}
    assert error["path"] == ["updateAgent"]
    assert (await client.data(NAMES))["agents"] == [{"name": "Two"}]


async def test_free_form_objects_come_back_as_they_were(stranger: Client) -> None:
    client, *_ = await register(stranger)
    config = {
        "window": 10,
        "rate": 0.5,
        "on": True,
        "none": None,
        "huge": 1e300,
        "list": [1, {"deep": "er"}],
        "text": "ü",
    }
    create = "mutation ($input: CreateAgentInput!) { createAgent(input: $input) { memoryConfig model { config } } }"
    fields = {
        "name": "x",
        "memoryConfig": config,
        "model": {"provider": "p", "name": "m", "config": {"temperature": 0.5}},
    }
    created = (await client.data(create, input=fields))["createAgent"]
    assert created == {"memoryConfig": config, "model": {"config": {"temperature": 0.5}}}


async def test_the_same_request_id_makes_one_agent(stranger: Client) -> None:
    client, *_ = await register(stranger)
    request_id = str(uuid4())
    ids = [await make_agent(client, name="Once", requestId=request_id) for _ in range(2)]
    assert ids[0] == ids[1]
    error = await client.error(CREATE_AGENT, input={"name": "Twice", "requestId": request_id})
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("CONFLICT", "REQUEST_ID_REUSED")


async def test_mutations_run_one_after_the_other_and_fail_by_themselves(stranger: Client) -> None:
    client, *_ = await register(stranger)
    both = """mutation ($bad: CreateAgentInput!, $good: CreateAgentInput!) {
        bad: createAgent(input: $bad) { name } good: createAgent(input: $good) { name } }"""
    body = await client.answer(both, bad={"name": ""}, good={"name": "Good"})
    assert body["data"] == {"bad": None, "good": {"name": "Good"}}
    [error] = body["errors"]
    assert error["path"] == ["bad"]
    assert error["extensions"]["violations"] == [{"field": "name", "message": error["message"].partition(": ")[2]}]


async def test_a_relation_is_made_and_ended(stranger: Client) -> None:
    client, *_ = await register(stranger)
    boss, worker = [await make_agent(client, name=name) for name in ("Boss", "Worker")]
    relation = {"sourceId": boss, "targetId": worker, "type": "SUPERVISES"}
    for mutation, field in ((RELATE, "createRelation"), (RELATE, "createRelation"), (UNRELATE, "deleteRelation")):
        assert (await client.data(mutation, input=relation))[field]["type"] == "SUPERVISES"
    assert (await client.data(COLLABORATORS, id=boss))["agent"]["collaborators"] == []


async def test_an_api_key_does_what_its_scopes_say(stranger: Client) -> None:
    client, *_ = await register(stranger)
    made = (await client.data(API_KEY, input={"name": "reader", "scopes": ["agents:read"]}))["createApiKey"]
    script = Client(stranger.http, made["key"])
    assert (await script.data(NAMES))["agents"] == []
    error = await script.error(CREATE_AGENT, input={"name": "x"})
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert error["extensions"]["metadata"] == {"permission": "agents:write"}


async def test_a_document_that_is_there_already_changes_nothing(world: World) -> None:
    same = {"collectionId": world.collection_id, "documentId": "exceptions", "text": DOCUMENT}
    assert (await world.client.data(INGEST, input=same))["ingestDocument"]["unchanged"] is True


async def test_a_run_ends_once(world: World) -> None:
    started = (await world.client.data(START, input={"agentId": world.collaborator_id}))["startExecution"]
    assert started["status"] == "RUNNING"
    ended = {"id": started["id"], "status": "FAILED", "error": "out of ideas"}
    assert (await world.client.data(FINISH, input=ended))["finishExecution"]["status"] == "FAILED"
    error = await world.client.error(FINISH, input={"id": started["id"], "status": "SUCCEEDED"})
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("CONFLICT", "EXECUTION_FINISHED")


NOBODY = "01980000-0000-7000-8000-00000000dead"
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    (COLLABORATORS, {"id": NOBODY}, "NOT_FOUND", "AGENT_NOT_FOUND"),
    ("query ($id: ID!) { collection(id: $id) { id } }", {"id": NOBODY}, "NOT_FOUND", "COLLECTION_NOT_FOUND"),
    (UPDATE, {"input": {"id": NOBODY, "name": "x"}}, "NOT_FOUND", "AGENT_NOT_FOUND"),
    (START, {"input": {"agentId": NOBODY}}, "NOT_FOUND", "AGENT_NOT_FOUND"),
    (FINISH, {"input": {"id": NOBODY, "status": "FAILED"}}, "NOT_FOUND", "EXECUTION_NOT_FOUND"),
    (CREATE_AGENT, {"input": {"name": "x" * 201}}, "BAD_USER_INPUT", "INVALID_FIELDS"),
    (CREATE_AGENT, {"input": {"name": "nul\x00"}}, "BAD_USER_INPUT", "INVALID_FIELDS"),
    ("{ agents(first: 0) { id } }", {}, "BAD_USER_INPUT", "INVALID_FIELDS"),
    ("{ agents(first: 1001) { id } }", {}, "BAD_USER_INPUT", "INVALID_FIELDS"),
    ('{ agents(after: "bogus") { id } }', {}, "BAD_USER_INPUT", "PAGE_TOKEN_INVALID"),
    ('{ search(collectionIds: [], text: "x") { exact } }', {}, "BAD_USER_INPUT", "INVALID_FIELDS"),
    (LOG_IN, {"input": {"email": "nobody@example.org", "password": "x"}}, "UNAUTHENTICATED", "CREDENTIALS_INVALID"),
]


@pytest.mark.parametrize(("query", "variables", "code", "reason"), REFUSED)
async def test_what_cannot_be_done_is_said_in_code_and_reason(
    world: World, query: str, variables: dict[str, Any], code: str, reason: str
) -> None:
    error = await world.client.error(query, **variables)
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == (code, reason)
    assert len(error["extensions"]["traceId"]) == 32


async def test_an_email_address_registers_once(stranger: Client, world: World) -> None:
    person = {"email": world.email, "password": PASSWORD, "displayName": "Eve", "organizationName": "E"}
    query = "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }"
    error = await stranger.error(query, input=person)
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("CONFLICT", "EMAIL_TAKEN")
