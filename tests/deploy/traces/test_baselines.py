"""Baselines come back as they were saved, and changes by label sum to the change of the percentile."""

from pathlib import Path

import pytest

from deploy.local.failure import StackError
from deploy.traces.baselines import Baselines, compare, name_of, successor
from tests.deploy.traces.answers import MS, answer, baseline


def test_a_baseline_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = baseline(answer(gateway=1.5, graph__neo4j=30))
    Baselines(tmp_path).save("before-release.2", saved)
    assert Baselines(tmp_path).read("before-release.2") == saved


@pytest.mark.parametrize("name", ["../secrets", "a/b", "/etc/x", ".hidden", "", " ", "a b", "x" * 65, "ä", "a\n"])
def test_a_name_that_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="cannot name a baseline"):
        Baselines(tmp_path).save(name, baseline(answer(gateway=1)))
    assert not list(tmp_path.rglob("*"))


def test_an_unknown_name_is_answered_with_those_there_are(tmp_path: Path) -> None:
    baselines = Baselines(tmp_path)
    with pytest.raises(StackError, match="None was saved yet"):
        baselines.read("monday")
    for name in ("friday", "april"):
        baselines.save(name, baseline(answer(gateway=1)))
    with pytest.raises(StackError, match="There are: april, friday"):
        baselines.read("monday")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"answer": {"latency_ns": "many"}}', "\0"])
def test_a_file_that_holds_something_else_is_told_plainly(content: str, tmp_path: Path) -> None:
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines/x.json").write_text(content)
    with pytest.raises(StackError, match="is no baseline"):
        Baselines(tmp_path).read("x")


def test_changes_sum_to_the_change_of_the_percentile_largest_first() -> None:
    before = answer(gateway=10.000001, auth=2, graph=3)
    after = answer(gateway=10.5, graph__neo4j=40, graph=0.999999)
    changes = compare(baseline(before), baseline(after)).changes
    assert [change.label for change in changes] == ["graph/neo4j", "graph", "auth", "gateway"]
    assert sum(change.by for change in changes) == after.latency_ns - before.latency_ns
    assert {change.label: change.within_chance for change in changes} == {
        "graph/neo4j": False,
        "graph": False,
        "auth": False,
        "gateway": True,
    }
    assert changes[2].before == 2 * MS
    assert changes[2].after == 0


NOTES = [
    (answer(gateway=1), answer(gateway=2), []),
    (answer("query Q 0a1b2c3d", gateway=1), answer("query Q 00000000", gateway=2), ["document has changed"]),
    (answer("query Q 0a1b2c3d", gateway=1), answer("query R 0a1b2c3d", gateway=2), ["different operations"]),
    (answer(), answer(gateway=2), ["Too few requests then"]),
    (answer(gateway=2), answer(), ["Too few requests now"]),
]


@pytest.mark.parametrize(("before", "after", "expected"), NOTES)
def test_what_makes_a_comparison_doubtful_is_said(before: object, after: object, expected: list[str]) -> None:
    notes = compare(baseline(before), baseline(after)).notes  # type: ignore[arg-type]
    assert len(notes) == len(expected)
    for note, words in zip(notes, expected, strict=True):
        assert words in note


def test_an_operation_is_found_again_by_its_name_when_its_document_has_changed() -> None:
    seen = ["query Other 11111111", "query Q 22222222", "query QQ 33333333"]
    assert successor("query Q 22222222", seen) == "query Q 22222222"
    assert successor("query Q 99999999", seen) == "query Q 22222222"
    assert successor("query Gone 22222222", seen) is None
    assert name_of("other operations") == "other operations"
