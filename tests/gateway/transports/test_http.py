"""GraphQL over HTTP: what a request must look like, and what comes back."""

import json
from typing import Any

import httpx
import pytest

from tests.gateway.clients import Client, World

JSON = "application/json"
RESPONSE_JSON = "application/graphql-response+json"
GOOD = {"query": "{ __typename }"}
MUTATION = 'mutation { logIn(input: { email: "a@b.c", password: "x" }) { accessToken } }'

ACCEPTED: list[tuple[str | None, str]] = [
    (None, JSON),
    ("*/*", JSON),
    ("application/*", JSON),
    (JSON, JSON),
    (RESPONSE_JSON, RESPONSE_JSON),
    (f"{RESPONSE_JSON}, {JSON};q=0.9", RESPONSE_JSON),
    (f"{RESPONSE_JSON};q=0.5, {JSON}", JSON),
    (f"text/html, {JSON};q=0.5", JSON),
]


@pytest.mark.parametrize(("accept", "content_type"), ACCEPTED)
async def test_the_answer_has_the_type_that_the_client_likes_best(
    http: httpx.AsyncClient, accept: str | None, content_type: str
) -> None:
    request = http.build_request("POST", "/graphql", json=GOOD)
    del request.headers["accept"]
    if accept:
        request.headers["accept"] = accept
    response = await http.send(request)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{content_type}; charset=utf-8"
    assert response.json() == {"data": {"__typename": "Query"}}


# What is no GraphQL request at all: the same status for either type of answer.
REFUSED: list[tuple[int, dict[str, Any]]] = [
    (400, {"content": b"{", "headers": {"content-type": JSON}}),
    (400, {"content": b"", "headers": {"content-type": JSON}}),
    (400, {"json": []}),
    (400, {"json": [GOOD]}),
    (400, {"json": {}}),
    (400, {"json": {"query": 1}}),
    (400, {"json": {**GOOD, "variables": []}}),
    (400, {"json": {**GOOD, "operationName": {}}}),
    (400, {"json": {**GOOD, "extensions": 0}}),
    (400, {"json": {"query": "subscription { agentChanged { type } }"}}),
    (406, {"json": GOOD, "headers": {"accept": "text/html"}}),
    (406, {"json": GOOD, "headers": {"accept": f"{JSON};q=0"}}),
    (413, {"content": b" " * (4 * 1024 * 1024 + 1), "headers": {"content-type": JSON}}),
    (415, {"content": b"{}", "headers": {"content-type": "text/plain"}}),
    (415, {"content": b"{}"}),
    (415, {"content": b"{}", "headers": {"content-type": f"{JSON}; charset=latin-1"}}),
    (401, {"json": GOOD, "headers": {"authorization": "Basic eDp5"}}),
    (401, {"json": GOOD, "headers": {"authorization": "Bearer " + "x" * 9_000}}),
    (401, {"json": GOOD, "headers": {b"authorization": "Bearer tokén".encode()}}),
    (400, {"json": GOOD, "headers": [(b"authorization", b"Bearer one"), (b"authorization", b"Bearer two")]}),
]


@pytest.mark.parametrize(("status", "request_"), REFUSED)
async def test_what_is_no_request_is_refused_in_json(
    http: httpx.AsyncClient, status: int, request_: dict[str, Any]
) -> None:
    response = await http.post("/graphql", **request_)
    assert response.status_code == status
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] in {"BAD_REQUEST", "LIMIT_EXCEEDED", "UNAUTHENTICATED"}
    assert "data" not in response.json()


# What is a request, but is not executed: 400 only where the type says that the body is GraphQL's.
UNEXECUTED: list[tuple[str, dict[str, Any]]] = [
    ("GRAPHQL_PARSE_FAILED", {"query": "{"}),
    ("GRAPHQL_VALIDATION_FAILED", {"query": "{ nothing }"}),
    ("OPERATION_RESOLUTION_FAILURE", {"query": "query A { __typename } query B { __typename }"}),
    ("OPERATION_RESOLUTION_FAILURE", {**GOOD, "operationName": "Other"}),
    ("BAD_USER_INPUT", {"query": "query ($id: ID!) { agent(id: $id) { id } }"}),
    ("BAD_USER_INPUT", {"query": "query ($n: Int!) { agents(first: $n) { id } }", "variables": {"n": "many"}}),
]


@pytest.mark.parametrize(("code", "body"), UNEXECUTED)
async def test_what_is_not_executed_has_errors_and_no_data(stranger: Client, code: str, body: dict[str, Any]) -> None:
    for accept, status in ((JSON, 200), (RESPONSE_JSON, 400)):
        response = await stranger.post(body, accept=accept)
        assert response.status_code == status
        assert response.json()["errors"][0]["extensions"]["code"] == code
        assert "data" not in response.json()


async def test_queries_may_come_by_get(http: httpx.AsyncClient, world: World) -> None:
    query = "query One($id: ID!) { agent(id: $id) { name } } query Two { __typename }"
    parameters = {"query": query, "operationName": "One", "variables": json.dumps({"id": world.agent_id})}
    response = await http.get("/graphql", params=parameters, headers=world.client.authorization)
    assert response.json() == {"data": {"agent": {"name": "Librarian"}}}


BAD_GETS: list[tuple[int, dict[str, str]]] = [
    (400, {}),
    (400, {"query": "{ __typename }", "variables": "{"}),
    (400, {"query": "{ __typename }", "variables": "[]"}),
    (400, {"query": "{ __typename }", "extensions": "x"}),
    (405, {"query": MUTATION}),
]


@pytest.mark.parametrize(("status", "parameters"), BAD_GETS)
async def test_what_may_not_come_by_get(http: httpx.AsyncClient, status: int, parameters: dict[str, str]) -> None:
    response = await http.get("/graphql", params=parameters)
    assert response.status_code == status
    assert response.headers.get("allow") == ("GET, POST" if status == 405 else None)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_other_methods_are_refused(http: httpx.AsyncClient, method: str) -> None:
    response = await http.request(method, "/graphql", json=GOOD)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"


async def test_a_body_may_come_in_pieces(http: httpx.AsyncClient) -> None:
    async def pieces() -> Any:
        for byte in json.dumps(GOOD).encode():
            yield bytes([byte])

    response = await http.post("/graphql", content=pieces(), headers={"content-type": JSON})
    assert response.json() == {"data": {"__typename": "Query"}}


async def test_a_body_in_pieces_has_the_same_limit(http: httpx.AsyncClient) -> None:
    async def pieces() -> Any:
        for _ in range(5):
            yield b" " * 1024 * 1024

    response = await http.post("/graphql", content=pieces(), headers={"content-type": JSON})
    assert response.status_code == 413
    assert response.json()["errors"][0]["extensions"]["reason"] == "BODY_BYTES"


async def test_the_response_says_its_trace_and_where_the_time_went(stranger: Client) -> None:
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    response = await stranger.post(GOOD, traceparent=f"00-{trace_id}-{parent}-00", **{"server-timing": "1"})
    version, answered, span_id, _ = response.headers["traceresponse"].split("-")
    assert (version, answered) == ("00", trace_id)
    assert span_id != parent
    assert response.headers["server-timing"].startswith("total;dur=")


async def test_an_error_says_the_trace_of_its_response(stranger: Client) -> None:
    response = await stranger.post({"query": "{ nothing }"})
    assert response.json()["errors"][0]["extensions"]["traceId"] == response.headers["traceresponse"].split("-")[1]
