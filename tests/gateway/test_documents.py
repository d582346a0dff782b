"""Documents are read once, and their operations are told apart by what they ask for."""

import pytest
from graphql import OperationType

from gateway.documents import Documents, OperationUnknown
from gateway.execution import load_schema
from gateway.limits import Limits

SCHEMA = load_schema()
LIMITS = Limits(1_000, 1_000, 100, 10, 10, 10, 1_000)


def documents(capacity: int = 1_000) -> Documents:
    return Documents(SCHEMA, LIMITS, capacity)


def test_a_text_is_read_once() -> None:
    kept = documents()
    assert kept.get("{ __typename }") is kept.get("{ __typename }")
    assert kept.get("{ nothing }") is kept.get("{ nothing }")


def test_the_documents_used_longest_ago_make_room() -> None:
    kept = documents(capacity=20)  # each has nine tokens, counting its begin and its end
    first = kept.get("{ agents { id } }")
    second = kept.get("{ agents { name } }")
    assert kept.get("{ agents { id } }") is first
    kept.get("{ agents { type } }")
    assert kept.get("{ agents { id } }") is first
    assert kept.get("{ agents { name } }") is not second


def test_long_texts_take_room_whatever_is_in_them() -> None:
    kept = documents(capacity=6)
    padded = "{ __typename }".ljust(1_000)
    assert kept.get(padded) is not kept.get(padded)


SAME = [
    ("{ agents { id } }", "{agents,{id}} # a comment"),
    ("{ agents(first: 3) { id } }", "{agents(first:4){id}}"),
    ('{ agent(id: "1") { id } }', '{ agent(id: "2") { id } }'),
    ('{ agent(id: "1") { id } }', '{ agent(id: """2""") { id } }'),
]
DIFFERENT = [
    ("{ agents { id } }", "{ agents { name } }"),
    ("query A { agents { id } }", "query B { agents { id } }"),
    ("{ agents(status: ACTIVE) { id } }", "{ agents(status: DRAFT) { id } }"),
]


def label(text: str) -> str:
    return documents().get(text).operation(None).label


@pytest.mark.parametrize(("one", "other"), SAME)
def test_layout_and_literals_do_not_make_another_operation(one: str, other: str) -> None:
    assert label(one) == label(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_fields_names_and_enums_make_another_operation(one: str, other: str) -> None:
    assert label(one) != label(other)


def test_a_label_has_type_name_and_hash() -> None:
    kind, name, digest = label('mutation Make { createAgent(input: { name: "x" }) { id } }').split(" ")
    assert (kind, name, len(digest)) == ("mutation", "Make", 8)
    assert label("{ __typename }").startswith("query anonymous ")


def test_an_operation_is_chosen_by_name() -> None:
    document = documents().get("query A { __typename } subscription B { agentChanged { type } }")
    assert document.operation("B").type is OperationType.SUBSCRIPTION
    for unknown in (None, "C"):
        with pytest.raises(OperationUnknown):
            document.operation(unknown)


def test_a_name_without_end_makes_a_short_label_of_its_own() -> None:
    names = ("a" * 500, "a" * 501)
    labels = {label(f"query {name} {{ agents {{ id }} }}") for name in names}
    assert len(labels) == len(names)
    assert max(map(len, labels)) < 200
