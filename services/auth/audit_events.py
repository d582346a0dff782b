"""Reading the audit log of one organization."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.auth.store import audit as rows
from services.runtime import fields, pages
from services.runtime.postgres import Database, Row

MAX_ACTIONS = 20
BEHIND_ALL = 2**63 - 1
SEQUENCE_BYTES = 8
RULES = {
    "page_size": pages.SIZE,
    "actions": fields.each(fields.text(1, 100), MAX_ACTIONS),
    "actor": fields.text(0, 200),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """What entries must fit; whatever is empty fits all."""

    actions: Sequence[str] = ()
    actor: str = ""
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Entries, the newest first, the next page's token, and for each entry that of the page behind it."""

    events: Sequence[Row]
    next_token: str
    tokens: Sequence[str]


async def page(database: Database, organization_id: UUID, wanted: Filter, page_size: int, page_token: str) -> Page:
    """A page of an organization's entries. Raises InvalidFields and PageTokenInvalid."""
    fields.check({"page_size": page_size, "actions": wanted.actions, "actor": wanted.actor}, RULES)
    listing, size = f"audit {organization_id} {wanted}", page_size or pages.DEFAULT_SIZE
    before = pages.decode(listing, page_token, _sequence) if page_token else BEHIND_ALL
    conditions = (wanted.actions, wanted.actor, wanted.start, wanted.end)
    async with database.tenant(organization_id, read_only=True) as statements:
        found = await rows.events(statements, organization_id, before, *conditions, size + 1)
    events, token = pages.cut(found, size, listing, _place)
    return Page(events, token, [pages.encode(listing, _place(row)) for row in events])


def _place(row: Row) -> bytes:
    return int(row["sequence"]).to_bytes(SEQUENCE_BYTES, "big", signed=True)


def _sequence(last: bytes) -> int:
    if len(last) != SEQUENCE_BYTES:
        raise ValueError("no sequence number")
    return int.from_bytes(last, "big", signed=True)
