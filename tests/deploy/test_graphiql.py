"""The files of the GraphiQL page are there, and set the globals that the page uses."""

from typing import TYPE_CHECKING

import pytest

from deploy.local import graphiql

if TYPE_CHECKING:
    from deploy.local.stack import Stack


@pytest.mark.parametrize(
    ("file", "mark"),
    [
        ("react.production.min.js", "React={}"),
        ("react-dom.production.min.js", "ReactDOM={}"),
        ("graphiql.min.js", "window.GraphiQL="),
        ("graphiql.min.css", ".graphiql-container"),
    ],
)
async def test_the_page_has(stack: "Stack", file: str, mark: str) -> None:
    assert stack.environment("gateway")["GRAPHIQL_ASSETS"] == str(graphiql.page())
    assert mark in (graphiql.page() / file).read_text()
