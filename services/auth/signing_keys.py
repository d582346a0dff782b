"""The keys that tokens are signed with: kept in the database, shared by all replicas."""

from services.auth.store import signing_keys as rows
from services.auth.tokens import SigningKey
from services.runtime.postgres import Database


async def load(database: Database) -> list[SigningKey]:
    """All keys, the newest last; the first one is made here, once, however many processes start at once."""
    new = SigningKey.generate()
    async with database.all_tenants() as statements:
        found = await rows.with_first(statements, new.key_id, new.pem())
    return [SigningKey.from_pem(row["key_id"], row["private_key"]) for row in found]
