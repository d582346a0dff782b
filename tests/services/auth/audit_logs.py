"""An audit log that may be tampered with: two chains in a database of their own, and a superuser."""

from collections.abc import Mapping
from uuid import UUID

from services.auth.audit import Entry, append
from services.auth.audit_chains import Head, Verified, verify
from services.runtime import postgres
from tests.services.auth.databases import OwnDatabase

LENGTH = 7
CHAIN = UUID("01980000-0000-7000-8000-00000000000a")
OTHER = UUID("01980000-0000-7000-8000-00000000000b")
BEHIND_THE_BACK = "SET session_replication_role = replica"
ENTRY = Entry("session.create", "someone", "user", "a session", "127.0.0.1", {"device": 'a "browser"', "ä": "€"})


class Log:
    """A database with two chains, and a superuser."""

    def __init__(self, own: OwnDatabase, database: postgres.Database) -> None:
        self.own = own
        self.database = database

    async def append(self, organization_id: UUID, count: int) -> None:
        async with self.database.all_tenants() as statements:
            for _ in range(count):
                await append(statements, organization_id, ENTRY)

    async def tamper(self, *statements: str) -> None:
        async with self.own.superuser() as connection:
            await connection.execute(BEHIND_THE_BACK)
            for statement in statements:
                await connection.execute(statement.replace("$chain", f"organization_id = '{CHAIN}'"))

    async def chains(self, known: Mapping[UUID, Head] | None = None) -> dict[UUID, Verified]:
        return {chain.organization_id: chain async for chain in verify(self.database, known or {})}

    async def broken(self, known: Mapping[UUID, Head] | None = None) -> tuple[str, int] | None:
        """What is wrong with the chain; nothing ever is with the other."""
        chains = await self.chains(known)
        assert chains[OTHER].broken is None
        found = chains[CHAIN].broken
        return (found.kind, found.sequence) if found else None

    async def heads(self) -> dict[UUID, Head]:
        return {organization_id: chain.head for organization_id, chain in (await self.chains()).items()}
