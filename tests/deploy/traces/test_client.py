"""Which operation is meant by a few words, and what is said where none is."""

import pytest

from deploy.local.failure import StackError
from deploy.traces.client import match

SEEN = ["query Often 11111111", "query OftenToo 22222222", "query Often"]


@pytest.mark.parametrize(
    ("words", "meant"), [("", SEEN[0]), ("Too", SEEN[1]), ("query Often", SEEN[2]), ("Often", SEEN[0])]
)
def test_the_whole_name_or_else_the_most_frequent_is_meant(words: str, meant: str) -> None:
    assert match(words, SEEN, 300) == meant


@pytest.mark.parametrize(
    ("seen", "told"), [([], "in the last 3,600 s.* Look further back with --window"), (SEEN, "no.*\n  query Often")]
)
def test_what_is_not_there_is_answered_with_what_to_do(seen: list[str], told: str) -> None:
    with pytest.raises(StackError, match=f"(?is){told}"):
        match("Seldom", seen, 3_600)
