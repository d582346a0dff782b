"""Calls that are safe to repeat: the same request_id with the same body stands for what was made the first time."""

from dataclasses import dataclass
from uuid import UUID

from services.agent_store.store import requests as rows
from services.agent_store.store.transactions import Store
from services.runtime.errors import RequestIdReused
from services.runtime.fields import as_uuid, identifier, optional

REQUEST_ID = optional(identifier)


@dataclass(frozen=True, slots=True)
class Request:
    """A call that makes something. Without a `request_id` it makes another thing each time."""

    request_id: str
    method: str
    body_sha256: bytes

    @property
    def id(self) -> UUID | None:
        """The request_id, if there is one."""
        return as_uuid(self.request_id)


async def made_before(store: Store, tenant: UUID, request: Request) -> UUID | None:
    """The id of what the request made when it came first, or None. Raises RequestIdReused for another body."""
    row = await rows.get(store, tenant, request.id) if request.id else None
    if row is None:
        return None
    if (row["method"], row["body_sha256"]) != (request.method, request.body_sha256):
        raise RequestIdReused
    entity_id: UUID = row["entity_id"]
    return entity_id
