"""Versions: an agent as it was after each change."""

from collections.abc import Sequence
from uuid import UUID

from services.agent_store.store import agents as rows
from services.agent_store.store.transactions import Store
from services.runtime import fields, pages
from services.runtime.errors import AgentNotFound
from services.runtime.fields import as_uuid, uuids
from services.runtime.postgres import Row

HIGHEST = 2**31 - 1


async def page(store: Store, tenant: UUID, agent_id: str, page_size: int, page_token: str) -> tuple[list[Row], str]:
    """A page of an agent's versions, newest first, and the next one's token.

    Raises AgentNotFound, InvalidFields and PageTokenInvalid.
    """
    fields.check({"page_size": page_size}, {"page_size": pages.SIZE})
    listing, size = f"versions {tenant} {agent_id}", page_size or pages.DEFAULT_SIZE
    before = pages.decode(listing, page_token, _number) if page_token else HIGHEST
    known = as_uuid(agent_id)
    found = await rows.versions(store, tenant, known, before, size + 1) if known else []
    if not found:  # every agent has a version
        raise AgentNotFound(agent_id)
    return pages.cut(found, size, listing, lambda row: b"%d" % row["number"])


def _number(last: bytes) -> int:
    number = int(last)
    if not 0 < number <= HIGHEST:
        raise ValueError
    return number


async def batch_get_latest(store: Store, tenant: UUID, agent_ids: Sequence[str]) -> list[Row]:
    """The latest version of each of the agents that exist. Raises InvalidFields over 1,000 ids."""
    fields.check({"agent_ids": agent_ids}, {"agent_ids": fields.BATCH})
    return await rows.latest_versions(store, tenant, uuids(agent_ids))
