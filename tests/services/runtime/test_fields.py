"""Rules for fields by themselves."""

from typing import Any

import pytest

from services.runtime import fields
from services.runtime.errors import InvalidFields
from services.runtime.fields import Rule, each, free_form, identifier, number, one_of, optional, text

UUID = "01890a5d-ac96-774b-bcce-b302099a8057"
CASES: list[tuple[Rule, Any, bool]] = [
    (text(1, 3), "", False),
    (text(1, 3), "a", True),
    (text(1, 3), "äöü", True),
    (text(1, 3), "abcd", False),
    (text(0, 3), "a\0", False),
    (number(0, 10), 0, True),
    (number(0, 10), 10, True),
    (number(0, 10), 11, False),
    (number(0, 10), -1, False),
    (one_of("A", "B"), "B", True),
    (one_of("A", "B"), "", False),
    (identifier, UUID, True),
    (identifier, UUID.upper(), True),
    (identifier, f"{{{UUID}}}", False),
    (identifier, UUID.replace("-", ""), False),
    (identifier, f"{UUID[:-2]}--", False),
    (optional(identifier), "", True),
    (optional(identifier), "x", False),
    (each(text(1, 1), 2), ["a", "b"], True),
    (each(text(1, 1), 2), ["a", "bc"], False),
    (each(text(1, 1), 2), ["a", "b", "c"], False),
    (free_form, {}, True),
    (free_form, {"a": [None, True, -1.5e300, "x", {"b": {}}]}, True),
    (free_form, {"a": float("nan")}, False),
    (free_form, {"a": [[{"b": float("-inf")}]]}, False),
    (free_form, {"a": {"\0": 1}}, False),
    (free_form, {"\0": 1}, False),
    (free_form, {"a": ["x", "\0"]}, False),
    (free_form, {"a": r"\u0000"}, True),
    (free_form, {"a": "x" * 99_992}, True),
    (free_form, {"a": "x" * 99_993}, False),
]


@pytest.mark.parametrize(("rule", "value", "good"), CASES, ids=range(len(CASES)))
def test_rules(rule: Rule, value: Any, good: bool) -> None:
    assert (rule(value) is None) == good


def test_every_problem_is_named() -> None:
    rules = {"a": text(1, 2), "b": number(0, 1), "c": identifier}
    with pytest.raises(InvalidFields) as caught:
        fields.check({"a": "", "b": 2, "c": UUID}, rules)
    assert set(caught.value.violations) == {"a", "b"}


def test_only_uuids_are_taken_from_a_batch_each_once() -> None:
    assert [str(found) for found in fields.uuids(["x", UUID, "", UUID])] == [UUID]
