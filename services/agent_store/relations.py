"""Relations: who works with, hands work to and answers for whom."""

from dataclasses import dataclass
from uuid import UUID

from services.agent_store.store import relations as rows
from services.agent_store.store.transactions import Store
from services.runtime import fields
from services.runtime.errors import InvalidFields
from services.runtime.fields import identifier, one_of

MUTUAL = "COLLABORATES_WITH"
RULES = {
    "source_id": identifier,
    "target_id": identifier,
    "type": one_of(MUTUAL, "DELEGATES_TO", "SUPERVISES"),
}


@dataclass(frozen=True, slots=True)
class Relation:
    """From one agent to another."""

    source_id: UUID
    target_id: UUID
    type: str


def relation(source_id: str, target_id: str, kind: str) -> Relation:
    """The relation as it is stored; a mutual one in the one direction that stands for both. Raises InvalidFields."""
    problems = fields.problems({"source_id": source_id, "target_id": target_id, "type": kind}, RULES)
    if source_id.lower() == target_id.lower():
        problems.setdefault("target_id", "must be another agent than the source")
    if problems:
        raise InvalidFields(**problems)
    source, target = UUID(source_id), UUID(target_id)
    if kind == MUTUAL:
        source, target = sorted((source, target))
    return Relation(source, target, kind)


async def create(store: Store, tenant: UUID, wanted: Relation) -> None:
    """Relate two agents; again changes nothing. Raises AgentNotFound."""
    await rows.create(store, tenant, wanted.source_id, wanted.target_id, wanted.type)


async def delete(store: Store, tenant: UUID, unwanted: Relation) -> None:
    """End a relation, if there is one."""
    await rows.delete(store, tenant, unwanted.source_id, unwanted.target_id, unwanted.type)
