"""Cuts a text into passages along its own structure: headings, then paragraphs, sentences, lines and words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
"""Raise it when the same text comes out otherwise, so that no document is taken for unchanged."""
TARGET = 800
"""The most characters in a passage: about as much as one embedding can stand for."""
SMALLEST = 200
"""Headings begin a new passage only behind this many characters."""
OVERLAP = 200
"""The last sentence of a passage begins the next as well, unless it is longer than this."""

HEADING = re.compile(r"^(?=#{1,6} |\S.{0,120}\n(?:={3,}|-{3,}|\*{3,}|~{3,}|\^{3,})[ \t]*$)", re.MULTILINE)
"""Where a Markdown heading or an underlined one begins."""
PARAGRAPH = re.compile(r"\n[ \t]*\n")
SENTENCE = re.compile(r"""[.!?]["')\]]?\s""")
LINE = re.compile(r"\n")
WORD = re.compile(r"\s")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passage:
    """`text[start:end]` of the text that it was cut from."""

    start: int
    end: int
    text: str


def cut(text: str) -> list[Passage]:
    """The passages in order: every character but white space is in one, those of some sentences are in two."""
    return [Passage(start, end, text[start:end]) for start, end in _packed(text)]


def _packed(text: str) -> Iterator[Span]:
    """Pieces put together for as long as they fit and no heading comes between."""
    start = end = 0
    for piece, headed in _outline(text):
        if start == end:
            start = piece[0]
        elif headed and end - start >= SMALLEST:
            yield start, end
            start = piece[0]
        elif piece[1] - start > TARGET:
            yield start, end
            start = _overlap(text, (start, end), piece)
        end = piece[1]
    if start < end:
        yield start, end


def _outline(text: str) -> Iterator[tuple[Span, bool]]:
    """Pieces that fit into a passage, and whether each is the first of its section, the one with the heading."""
    for section in _split(text, (0, len(text)), HEADING):
        for number, piece in enumerate(_pieces(text, section, (PARAGRAPH, SENTENCE, LINE, WORD))):
            yield piece, number == 0


def _pieces(text: str, span: Span, boundaries: tuple[re.Pattern[str], ...]) -> Iterator[Span]:
    """The span, or what it falls into at the first of the boundaries that makes it small enough."""
    start, end = _stripped(text, span)
    if end - start <= TARGET:
        yield from [(start, end)] if start < end else []
    elif boundaries:
        for part in _split(text, (start, end), boundaries[0]):
            yield from _pieces(text, part, boundaries[1:])
    else:
        yield from ((at, min(at + TARGET, end)) for at in range(start, end, TARGET))


def _split(text: str, span: Span, boundary: re.Pattern[str]) -> Iterator[Span]:
    start, end = span
    for match in boundary.finditer(text, start, end):
        yield start, match.end()
        start = match.end()
    yield start, end


def _stripped(text: str, span: Span) -> Span:
    part = text[span[0] : span[1]]
    return span[0] + len(part) - len(part.lstrip()), span[1] - len(part) + len(part.rstrip())


def _overlap(text: str, before: Span, piece: Span) -> int:
    """Where the passage with this piece begins: at the last sentence of the one before, if both fit."""
    start, end = before
    ends = [match.end() for match in SENTENCE.finditer(text, max(start, end - OVERLAP - 3), end)]
    sentence = _stripped(text, (ends[-1], end))[0] if ends else start
    fits = start < sentence < end and end - sentence <= OVERLAP and piece[1] - sentence <= TARGET
    return sentence if fits else piece[0]
