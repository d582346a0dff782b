"""SQL of what was made for which request_id."""

from uuid import UUID

from services.agent_store.store.transactions import Store
from services.runtime.postgres import Row

GET = "SELECT method, body_sha256, entity_id FROM requests WHERE organization_id = $1 AND request_id = $2"


async def get(store: Store, tenant: UUID, request_id: UUID) -> Row | None:
    """What is remembered of a request, if it was made."""
    async with store.reading(tenant) as statements:
        return await statements.fetchrow("SELECT requests", GET, tenant, request_id)
