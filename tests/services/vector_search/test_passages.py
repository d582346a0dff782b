"""Cutting a text into passages: nothing is lost, nothing is too long, and structure is kept."""

from itertools import pairwise
from pydoc_data.topics import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.vector_search.passages import OVERLAP, SMALLEST, TARGET, cut

FRAGMENTS = st.sampled_from(
    [
        "word ",
        "A sentence. ",
        "Really?\n",
        "\n\n",
        "\n",
        "# Heading\n",
        "Title\n=====\n",
        " " * 30,
        "é",
        "\t",
        "a" * 250,
    ]
)
TEXTS = st.one_of(st.text(), st.lists(FRAGMENTS, max_size=150).map("".join))


@given(TEXTS)
def test_passages_cover_the_text_in_order_and_stand_where_they_say(text: str) -> None:
    passages = cut(text)
    covered = set[int]()
    for passage in passages:
        assert passage.text == text[passage.start : passage.end] == passage.text.strip() != ""
        assert len(passage.text) <= TARGET
        covered.update(range(passage.start, passage.end))
    assert all(position in covered for position, character in enumerate(text) if not character.isspace())
    assert [passage.end for passage in passages] == sorted({passage.end for passage in passages})


@given(TEXTS)
def test_passages_share_at_most_a_sentence(text: str) -> None:
    passages = cut(text)
    for before, after in pairwise(passages):
        assert before.start < after.start
        assert before.end - after.start <= OVERLAP


def test_a_heading_begins_a_passage() -> None:
    text = f"{'Some words. ' * 25}\n\n# One\n\n{'More words. ' * 25}\n\nTwo\n***\n\nThe end."
    assert [passage.text.split("\n")[0] for passage in cut(text)][1:] == ["# One", "Two"]


def test_headings_of_small_sections_stay_together() -> None:
    [passage] = cut("# One\n\nA.\n\n# Two\n\nB.\n\n# Three\n\nC.")
    assert len(passage.text) < SMALLEST


def test_the_last_sentence_begins_the_next_passage() -> None:
    passages = cut(" ".join(f"This is sentence number {number} of the text." for number in range(60)))
    for before, after in pairwise(passages):
        assert before.text.endswith(f" {after.text.split('.')[0]}.")


def test_paragraphs_are_kept_whole_where_they_fit() -> None:
    paragraphs = [f"{letter * 5} {letter * 290}" for letter in "abcd"]
    passages = cut("\n\n".join(paragraphs))
    assert [passage.text.split("\n\n") for passage in passages] == [paragraphs[:2], paragraphs[2:]]


HOSTILE = {
    "one word": "a" * 1_000_000,
    "full stops": "." * 1_000_000,
    "sentences of nothing": ". " * 500_000,
    "headings": "# a\n" * 250_000,
    "underlines": "x\n---\n" * 160_000,
    "lines": "a\n" * 500_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_makes_more_passages_than_its_length_allows(text: str) -> None:
    assert len(text) / TARGET <= len(cut(text)) <= len(text) / SMALLEST + 1


def test_real_documentation_makes_passages_of_good_size() -> None:
    lengths = [len(passage.text) for passage in cut(topics["typesseq"])]
    assert sum(lengths) / len(lengths) > TARGET / 2
