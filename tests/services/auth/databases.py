"""A database of a test's own, for what must not happen to the one that others use."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import asyncpg

from deploy.local import postgres, services
from deploy.local.stack import Stack
from services.runtime.postgres import Row, migrate

SCHEMA = "auth"
MIGRATIONS = services.migrations(SCHEMA)
NUMBER = 4
"""The characters of a migration's number."""


@dataclass(frozen=True, slots=True)
class OwnDatabase:
    """The schema of auth, with the same roles as the stack's."""

    stack: Stack
    name: str

    def url(self, role: str = SCHEMA) -> str:
        """Where a role logs in."""
        return f"{self.stack.database_url(role).rpartition('/')[0]}/{self.name}"

    @asynccontextmanager
    async def superuser(self) -> AsyncIterator["asyncpg.Connection[Row]"]:
        """Who may do everything."""
        connection = await asyncpg.connect(self.url(postgres.SUPERUSER), server_settings={"search_path": SCHEMA})
        try:
            yield connection
        finally:
            await connection.close()

    async def migrate(self, up_to: str = "9999") -> None:
        """Apply migrations whose number is not above this."""
        with TemporaryDirectory() as folder:
            for file in MIGRATIONS.glob("*.sql"):
                if file.name[:NUMBER] <= up_to:
                    (Path(folder) / file.name).symlink_to(file)
            await migrate(self.url(postgres.OWNER), SCHEMA, Path(folder))


@asynccontextmanager
async def own_database(stack: Stack, up_to: str = "9999") -> AsyncIterator[OwnDatabase]:
    """One that is gone afterwards."""
    own = OwnDatabase(stack, f"own_{uuid4().hex}")
    server = await asyncpg.connect(stack.database_url(postgres.SUPERUSER))
    try:
        await server.execute(f"CREATE DATABASE {own.name} OWNER {postgres.OWNER}")
        async with own.superuser() as connection:
            prepare = postgres.PREPARE_SCHEMA.format(schema=SCHEMA)
            await connection.execute(prepare.replace(f"DATABASE {postgres.DATABASE}", f"DATABASE {own.name}"))
        await own.migrate(up_to)
        yield own
    finally:
        await server.execute(f"DROP DATABASE IF EXISTS {own.name} WITH (FORCE)")
        await server.close()
