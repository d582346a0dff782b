"""Relay connections: a page of a list, where each item has a cursor."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class PageInfo(NamedTuple):
    """See the schema."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class Edge(NamedTuple):
    """An item in its place in a list."""

    cursor: str
    node: Any


class Connection(NamedTuple):
    """A page of items."""

    nodes: Sequence[Any]
    edges: Sequence[Edge]
    page_info: PageInfo


def connection(nodes: Sequence[Any], cursors: Sequence[str], next_page_token: str, after: str | None) -> Connection:
    """The page behind `after`, from what a service answers."""
    return Connection(
        nodes=nodes,
        edges=[Edge(cursor, node) for cursor, node in zip(cursors, nodes, strict=True)],
        page_info=PageInfo(
            has_next_page=bool(next_page_token),
            has_previous_page=after is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )
