"""Neo4j as the stack runs it."""

from typing import TYPE_CHECKING

import pytest
from neo4j import AsyncGraphDatabase
from neo4j.exceptions import AuthError

from deploy.local.neo4j import USER

if TYPE_CHECKING:
    from deploy.local.stack import Stack


async def test_the_password_is_the_state_folders_not_the_well_known_one(stack: "Stack") -> None:
    async with AsyncGraphDatabase.driver(stack.neo4j_url, auth=(USER, "neo4j")) as stranger:
        with pytest.raises(AuthError):
            await stranger.execute_query("RETURN 1")


async def test_it_is_neo4j_5_26(stack: "Stack") -> None:
    async with AsyncGraphDatabase.driver(stack.neo4j_url, auth=(USER, stack.secrets.neo4j)) as driver:
        server = await driver.get_server_info()
    assert server.agent.startswith("Neo4j/5.26.")
