"""Each limit, at it and one step beyond, and documents that are made to hurt."""

import pytest

from tests.gateway.clients import Client, World


def nested(depth: int) -> str:
    """A query that is so many fields deep."""
    path = ["agents(first: 1)", *("agent" if at % 2 else "latestVersion" for at in range(depth - 2))]
    leaf = "number" if path[-1] == "latestVersion" else "id"
    return "{ " + " { ".join([*path, leaf]) + " }" * (len(path) + 1)


def aliases(number: int) -> str:
    """A query with so many aliases, in two spreads of one fragment."""
    fields = " ".join(f"a{at}: id" for at in range(number // 2))
    return f"{{ agents(first: 1) {{ ...F latestVersion {{ agent {{ ...F }} }} }} }} fragment F on Agent {{ {fields} }}"


def root_fields(number: int) -> str:
    """A query with so many fields at its root, all but one of them from a fragment."""
    return f"{{ __typename ...F }} fragment F on Query {{ {'__typename ' * (number - 1)} }}"


def tokens(number: int) -> str:
    """A document of so many tokens."""
    return '{ search(text: "x", collectionIds: [' + '"x" ' * (number - 15) + "]) { exact } }"


def comments(number: int) -> str:
    """A document with so many comments, which are no tokens but cost as much."""
    return "#\n" * number + "{ __typename }"


def characters(number: int) -> str:
    """A document of so many characters."""
    return "{ __typename }".ljust(number)


def cost(number: int) -> str:
    """A query whose answer may hold so many objects."""
    return f"{{ agents(first: 500) {{ collaborators(first: {number // 500 - 1}) {{ id }} }} }}"


LIMITED = [
    (nested, "DEPTH", 15, 16),
    (aliases, "ALIASES", 30, 32),
    (root_fields, "ROOT_FIELDS", 20, 21),
    (tokens, "TOKENS", 1_000, 1_001),
    (comments, "TOKENS", 1_000, 1_001),
    (characters, "DOCUMENT_CHARACTERS", 100_000, 100_001),
    (cost, "COST", 50_000, 50_500),
]


@pytest.mark.parametrize(("document", "reason", "most", "too_much"), LIMITED)
async def test_a_limit_is_named_when_it_is_passed(
    world: World, document: "type[str]", reason: str, most: int, too_much: int
) -> None:
    allowed = await world.client.answer(document(most))
    codes = {error["extensions"]["code"] for error in allowed.get("errors", [])}
    assert codes <= {"BAD_USER_INPUT"}  # a thousand ids are more than the search takes
    error = await world.client.error(document(too_much))
    assert error["extensions"]["code"] == "LIMIT_EXCEEDED"
    assert (error["extensions"]["reason"], error["extensions"]["limit"]) == (reason, most)


async def test_a_variable_that_makes_a_list_too_long_is_refused(world: World) -> None:
    query = "query ($n: Int! = 2) { agents(first: $n) { executions(first: $n) { agent { collaborators { id } } } } }"
    assert (await world.client.error(query, n=90))["extensions"]["reason"] == "COST"
    assert "errors" not in await world.client.answer(query)


INTROSPECTION = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"
HOSTILE = [
    "{" * 999,
    "{ " + "a { " * 300 + "}" * 301,
    "[" * 1_000,
    "{ a(b: " + "[" * 490 + "]" * 490 + ") }",
    "query (" + "$a: Int " * 240 + ") { a }",
    "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "{ ...F0 } " + " ".join(f"fragment F{at} on Query {{ ...F{at + 1} ...F{at + 1} }}" for at in range(80)),
    "{ " + "agents { " + "id " * 900 + "} }",
    "{ " + " ".join(f"a{at}: __typename" for at in range(300)) + " }",
    INTROSPECTION,
    "{ agents { " + "... on Agent { " * 190 + "id" + " }" * 191 + " }",
    '{ agents(after: "' + "\\u0000" * 1_000 + '") { id } }',
    "\ufeff{ __typename }" + "\t" * 50_000,
    "query A { __typename } " * 150,
    "{ __typename " + "@include(if: true) " * 150 + "}",
]


@pytest.mark.parametrize("document", HOSTILE, ids=lambda document: document[:30])
async def test_a_hostile_document_is_answered_and_leaves_nothing_broken(stranger: Client, document: str) -> None:
    response = await stranger.post({"query": document})
    assert response.status_code == 200
    for error in response.json().get("errors", []):
        assert error["extensions"]["code"] != "INTERNAL_SERVER_ERROR", error
    assert (await stranger.post({"query": "{ __typename }"})).json() == {"data": {"__typename": "Query"}}
