"""Agents: what may be said of one, and how one is made, read and changed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn
from uuid import UUID

from services.agent_store.idempotency import REQUEST_ID, Request, made_before
from services.agent_store.store import agents as rows
from services.agent_store.store.transactions import Store
from services.runtime import fields, pages
from services.runtime.caller import Principal
from services.runtime.errors import AgentNotFound, InvalidFields, StaleEtag
from services.runtime.etags import etag_of, revision_of
from services.runtime.fields import Rule, as_uuid, each, free_form, identifier, one_of, optional, text, uuids
from services.runtime.postgres import Row

STATUSES = ("DRAFT", "ACTIVE", "PAUSED", "ARCHIVED")
WORDS = each(text(1, 100), 100)
RULES: Mapping[str, Rule] = {
    "name": text(1, 200),
    "description": text(0, 10_000),
    "status": one_of(*STATUSES),
    "type": text(0, 100),
    "model.provider": text(0, 200),
    "model.name": text(0, 200),
    "model.config": free_form,
    "system_prompt": text(0, 100_000),
    "capabilities": WORDS,
    "memory_config": free_form,
    "retrieval_config": free_form,
    "tags": WORDS,
    "owner_id": identifier,
    "topics": WORDS,
    "collection_ids": each(identifier, 100),
}
"""What can be said of an agent, by its path in a field mask, in the order in which the store takes it."""

PATHS: Mapping[str, Sequence[str]] = {
    "model": ["model.provider", "model.name", "model.config"],
    **{path: [path] for path in RULES},
}
"""What each path of a field mask stands for."""

Profile = Mapping[str, Any]
"""A value for each of the paths above."""

PAGE_RULES: Mapping[str, Rule] = {"status": optional(one_of(*STATUSES)), "page_size": pages.SIZE}
NEWEST = UUID(int=2**128 - 1)


async def create(store: Store, caller: Principal, new_id: UUID, profile: Profile, request: Request) -> Row:
    """A new agent, or the one that the request made before. Raises InvalidFields and RequestIdReused."""
    creator = caller.subject if caller.subject_type == "user" else ""
    if not (profile["owner_id"] or creator):
        raise InvalidFields(owner_id="must be given by a script, which answers for nothing itself")
    stated = {
        **profile,
        "status": profile["status"] or "DRAFT",
        "owner_id": profile["owner_id"] or creator,
    }
    fields.check({**stated, "request_id": request.request_id}, {**RULES, "request_id": REQUEST_ID})
    row = await rows.create(store, caller.tenant, new_id, caller.subject, request, _values(stated))
    return row or await _first_version(store, caller.tenant, request)


def _values(profile: Profile) -> list[object]:
    return [profile.get(path) for path in RULES]


async def _first_version(store: Store, tenant: UUID, request: Request) -> Row:
    """What the request was answered when it came first, whatever has become of the agent since."""
    agent_id = await made_before(store, tenant, request)
    assert agent_id is not None  # only a request that is remembered makes nothing
    [first] = await rows.versions(store, tenant, agent_id, before=2, limit=1)
    return first


async def get(store: Store, tenant: UUID, agent_id: str) -> Row:
    """The agent. Raises AgentNotFound."""
    known = as_uuid(agent_id)
    row = await rows.get(store, tenant, known) if known else None
    if row is None:
        raise AgentNotFound(agent_id)
    return row


async def batch_get(store: Store, tenant: UUID, agent_ids: Sequence[str]) -> list[Row]:
    """Those of the agents that exist. Raises InvalidFields over 1,000 ids."""
    fields.check({"ids": agent_ids}, {"ids": fields.BATCH})
    return await rows.batch_get(store, tenant, uuids(agent_ids))


async def update(
    store: Store, caller: Principal, agent_id: str, etag: str, profile: Profile, mask: Iterable[str]
) -> Row:
    """The agent with the masked fields of the profile. Raises AgentNotFound, InvalidFields and StaleEtag."""
    paths, refused = expand(mask)
    changes = {path: profile[path] for path in paths}
    if problems := {**refused, **fields.problems({**changes, "id": agent_id}, {**RULES, "id": identifier})}:
        raise InvalidFields(**problems)
    known = UUID(agent_id)
    revision = revision_of(known, etag) if etag else None
    row = await rows.update(store, caller.tenant, known, caller.subject, revision, _values(changes))
    return row or await _not_updated(store, caller.tenant, agent_id)


def expand(mask: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """The paths of RULES that a field mask names, and what is wrong with the mask."""
    asked = list(mask)
    if not asked:
        return [], {"update_mask": "must name at least one field"}
    unknown = [path for path in asked if path not in PATHS]
    if unknown:
        return [], {"update_mask": f"names what cannot be changed: {', '.join(unknown[:5])[:200]}"}
    return [rule for path in asked for rule in PATHS[path]], {}


async def _not_updated(store: Store, tenant: UUID, agent_id: str) -> NoReturn:
    """Say why nothing was changed: there is no such agent, or it is not in the state that the caller knows."""
    row = await get(store, tenant, agent_id)
    raise StaleEtag(etag_of(row["id"], row["revision"]))


async def page(store: Store, tenant: UUID, status: str, page_size: int, page_token: str) -> tuple[list[Row], str]:
    """A page of agents, newest first, and the next one's token. Raises InvalidFields and PageTokenInvalid."""
    fields.check({"status": status, "page_size": page_size}, PAGE_RULES)
    listing, size = _listing(tenant, status), page_size or pages.DEFAULT_SIZE
    before = pages.decode(listing, page_token, _id) if page_token else NEWEST
    found = await rows.page(store, tenant, status, before, size + 1)
    return pages.cut(found, size, listing, _place)


def page_tokens(tenant: UUID, status: str, agents: Iterable[Row]) -> list[str]:
    """For each agent of a page, the token for what is behind it."""
    listing = _listing(tenant, status)
    return [pages.encode(listing, _place(row)) for row in agents]


def _listing(tenant: UUID, status: str) -> str:
    return f"agents {tenant} {status}"


def _place(row: Row) -> bytes:
    agent_id: UUID = row["id"]
    return agent_id.bytes


def _id(last: bytes) -> UUID:
    return UUID(bytes=last)
