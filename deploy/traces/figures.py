"""How times look in the tables of a terminal: milliseconds, right-aligned, with bars in whatever room is left."""

import json
from abc import ABC, abstractmethod
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

MILLISECOND = 1_000_000
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def figures() -> Table:
    """An empty table that is as narrow as it can be read."""
    return Table(box=SIMPLE, pad_edge=False, collapse_padding=True)


def framed(title: str, table: RenderableType, caption: str = "") -> RenderableType:
    """The table between what it is and what is to be said of it, which may be wider than it is."""
    below = [plain(caption, "table.caption")] if caption else []
    return Group(plain(title, "table.title"), table, *below)


def plain(text: str, style: str = "") -> Text:
    """What others wrote, as it is: nothing in it is markup, and nothing in it commands the terminal."""
    return Text("".join(each if each.isprintable() or each == "\n" else UNPRINTABLE for each in text), style)


def numbers(table: Table, *headings: str) -> None:
    """Add columns of numbers."""
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)


def figure(nanoseconds: int) -> str:
    """In milliseconds, as a bare number."""
    return f"{nanoseconds / MILLISECOND:.2f}"


def change(nanoseconds: int) -> str:
    """The same with its sign."""
    return f"{nanoseconds / MILLISECOND:+.2f}"


def ms(nanoseconds: int) -> str:
    """The same with its unit."""
    return f"{figure(nanoseconds)} ms"


def rough(nanoseconds: int) -> str:
    """In milliseconds, with the three digits that matter."""
    milliseconds = nanoseconds / MILLISECOND
    size = abs(milliseconds)
    return f"{milliseconds:.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def interval(low: int, high: int) -> str:
    """From where to where."""
    return f"{rough(low)}..{rough(high)}"


def as_dict(message: Message) -> dict[str, Any]:
    """The message with its proto names; 64-bit integers are strings, as in the proto's own JSON form."""
    return dict(MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))


def as_json(message: Message) -> str:
    """See as_dict."""
    return json.dumps(as_dict(message), indent=2)


class Strip(ABC):
    """One line of cells, drawn as long as there is room for it; `draw` makes a text of that many characters."""

    def __init__(self, width: int, least: int = 0, style: str = "") -> None:
        self._width = width
        self._least = least
        self._style = style

    @abstractmethod
    def draw(self, width: int) -> str:
        """A text that is `width` characters long at most."""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self._least, self._width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = console.get_style(self._style) if self._style else Style.null()
        yield Segment(self.draw(min(options.max_width, self._width)), style)


class Bar(Strip):
    """How much of the whole a part is; nothing where there is no room to tell."""

    WIDTH, LEAST = 8, 3

    def __init__(self, part: int, whole: int) -> None:
        super().__init__(self.WIDTH)
        self._fraction = max(0.0, min(1.0, part / max(whole, 1)))

    def draw(self, width: int) -> str:
        return "█" * round(width * self._fraction) if width >= self.LEAST else ""
