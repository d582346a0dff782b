"""What operations may cost: each object one, lists as long as they may get."""

from typing import Any

import pytest
from graphql import DocumentNode, OperationDefinitionNode, parse, validate

from gateway.cost import cost_of
from gateway.execution import load_schema
from gateway.limits import LimitExceeded

SCHEMA = load_schema()

COSTS: list[tuple[str, dict[str, Any], int]] = [
    ("{ __typename }", {}, 0),
    ("{ agents { id } }", {}, 50),
    ("{ agents(first: 3) { id name } }", {}, 3),
    ("{ agents(first: 3) { owner { id } executions(first: 2) { id } } }", {}, 3 * (1 + 1 + 2)),
    ("{ agents(first: 3) { ...F } } fragment F on Agent { owner { id } }", {}, 6),
    ("{ agents(first: 3) { ... on Agent { owner { id } } } }", {}, 6),
    ("{ a: agents(first: 3) { id } b: agents(first: 4) { id } }", {}, 7),
    ('{ search(collectionIds: [], text: "", first: 7) { hits { id } } }', {}, 1 + 7),
    (
        "{ agentsConnection(first: 5) { edges { node { id } } nodes { id } pageInfo { endCursor } } }",
        {},
        1 + 10 + 5 + 1,
    ),
    ("{ agentsConnection(first: 5) { nodes { executions(first: 2) { id } } } }", {}, 1 + 5 * 3),
    ('{ node(id: "") { ... on Agent { owner { id } } ... on User { id } } }', {}, 2),
    ("query ($n: Int!) { agents(first: $n) { id } }", {"n": 9}, 9),
    ("query ($n: Int! = 4) { agents(first: $n) { id } }", {}, 4),
    ("query ($n: Int!) { agents(first: $n) { executions(first: $n) { id } } }", {"n": 9}, 9 + 81),
    ("query ($n: Int!) { agents(first: $n) { id } }", {"n": -5}, 1),
    ("query ($n: Int!) { agents(first: $n) { id } }", {"n": "many"}, 1),
    ("{ __schema { types { name } } }", {}, 0),
    ('mutation { createAgent(input: { name: "x" }) { owner { id } } }', {}, 2),
    ("{ latencyBlame { parts(first: 5) { label } } }", {}, 1 + 5),
    ("{ latencyOperations(first: 3) { shares(first: 7) { label } operation } }", {}, 3 * (1 + 7)),
    ('{ trace(id: "") { spans { id } sections(first: 2) { label } logs(first: 3) { text } } }', {}, 1 + 1_000 + 2 + 3),
    ("subscription { agentChanged { agent { id } } }", {}, 2),
]


def operation(text: str) -> tuple[DocumentNode, OperationDefinitionNode]:
    document = parse(text)
    assert not validate(SCHEMA, document)
    [found] = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    return document, found


@pytest.mark.parametrize(("text", "variables", "expected"), COSTS)
def test_cost(text: str, variables: dict[str, Any], expected: int) -> None:
    assert cost_of(SCHEMA, *operation(text), 1).of(variables) == expected


def test_a_document_whose_cost_has_too_many_terms_is_refused() -> None:
    depth = 12
    variables = " ".join(f"$v{at}: Int! $w{at}: Int!" for at in range(depth))
    fragments = " ".join(
        f"fragment F{at} on Agent {{ a: executions(first: $v{at}) {{ agent {{ ...F{at + 1} }} }} "
        f"b: executions(first: $w{at}) {{ agent {{ ...F{at + 1} }} }} }}"
        for at in range(depth)
    )
    text = f"query ({variables}) {{ agents {{ ...F0 }} }} {fragments} fragment F{depth} on Agent {{ owner {{ id }} }}"
    with pytest.raises(LimitExceeded, match="intricate"):
        cost_of(SCHEMA, *operation(text), 1)
