"""Conversions between protos and what the rules take and rows hold."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from neurectomy.agent_store.v1 import agent_store_pb2 as pb
from neurectomy.events.v1 import events_pb2
from services.agent_store.agents import Profile, etag_of
from services.agent_store.idempotency import Request
from services.agent_store.relations import Relation
from services.runtime.errors import InvalidFields
from services.runtime.events import Event
from services.runtime.fields import FREE_FORM_BYTES, FREE_FORM_TOO_LARGE
from services.runtime.postgres import Row

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _words(enum: Any, prefix: str) -> dict[int, str]:
    """The names of an enum's numbers, without the prefix; that of 0 is empty."""
    return {number: name.removeprefix(prefix) if number else "" for name, number in enum.items()}


def _numbers(words: Mapping[int, str]) -> dict[str, Any]:
    return {word: number for number, word in words.items()}


AGENT_STATUSES = _words(pb.AgentStatus, "AGENT_STATUS_")
EXECUTION_STATUSES = _words(pb.ExecutionStatus, "EXECUTION_STATUS_")
RELATION_TYPES = _words(pb.RelationType, "RELATION_TYPE_")
AGENT_STATUS_NUMBERS = _numbers(AGENT_STATUSES)
EXECUTION_STATUS_NUMBERS = _numbers(EXECUTION_STATUSES)
RELATION_TYPE_NUMBERS = _numbers(RELATION_TYPES)


def word(words: Mapping[int, str], number: int) -> str:
    """An enum's word; for a number that it does not have, that number, which no rule accepts."""
    return words.get(number, str(number))


def profile(agent: pb.Agent) -> Profile:
    """What an agent says of itself, by its path in a field mask."""
    return {
        "name": agent.name,
        "description": agent.description,
        "status": word(AGENT_STATUSES, agent.status),
        "type": agent.type,
        "model.provider": agent.model.provider,
        "model.name": agent.model.name,
        "model.config": plain(agent.model.config, "model.config"),
        "system_prompt": agent.system_prompt,
        "capabilities": list(agent.capabilities),
        "memory_config": plain(agent.memory_config, "memory_config"),
        "retrieval_config": plain(agent.retrieval_config, "retrieval_config"),
        "tags": list(agent.tags),
        "owner_id": agent.owner_id,
        "topics": list(agent.topics),
        "collection_ids": list(agent.collection_ids),
    }


def request(message: pb.CreateAgentRequest | pb.StartExecutionRequest) -> Request:
    """What makes a repeated call known again: its id, and its body without that."""
    body = type(message)()
    body.CopyFrom(message)  # type: ignore[arg-type]  # it is of the same type
    body.ClearField("request_id")
    digest = sha256(body.SerializeToString(deterministic=True)).digest()
    return Request(message.request_id, message.DESCRIPTOR.name, digest)


def ending(message: pb.FinishExecutionRequest) -> dict[str, object]:
    """How a run ended, by field."""
    return {
        "status": word(EXECUTION_STATUSES, message.status),
        "output": plain(message.output, "output") if message.HasField("output") else None,
        "error": message.error,
        "input_tokens": message.input_tokens,
        "output_tokens": message.output_tokens,
    }


def plain(struct: Struct, field: str) -> dict[str, Any]:
    """A Struct as a dict. Raises InvalidFields for one so large that only to convert it would hold up other calls."""
    if struct.ByteSize() > 4 * FREE_FORM_BYTES:  # no JSON takes four times its bytes as a Struct
        raise InvalidFields(**{field: FREE_FORM_TOO_LARGE})
    return _dict(struct)


def _dict(struct: Struct) -> dict[str, Any]:
    return {key: _plain(value) for key, value in struct.fields.items()}


def _plain(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _dict(value.struct_value)
    if kind == "list_value":
        return [_plain(part) for part in value.list_value.values]
    return None if kind in ("null_value", None) else getattr(value, kind)


def _struct(value: dict[str, Any] | None) -> Struct | None:
    if value is None:
        return None
    struct = Struct()
    struct.update(value)
    return struct


def _timestamp(time: datetime) -> Timestamp:
    """Five times faster than Timestamp.FromDatetime, and exact."""
    since = time - EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def _duration(span: timedelta) -> Duration:
    return Duration(seconds=span.days * 86_400 + span.seconds, nanos=span.microseconds * 1_000)


def agent(row: Row) -> pb.Agent:
    """An agent, from its own row or from that of a version. Empty configurations are left unset: that costs nothing."""
    return pb.Agent(
        id=str(row["id"]),
        name=row["name"],
        description=row["description"],
        status=AGENT_STATUS_NUMBERS[row["status"]],
        type=row["type"],
        model=pb.Model(
            provider=row["model_provider"], name=row["model_name"], config=_struct(row["model_config"] or None)
        ),
        system_prompt=row["system_prompt"],
        capabilities=row["capabilities"],
        memory_config=_struct(row["memory_config"] or None),
        retrieval_config=_struct(row["retrieval_config"] or None),
        tags=row["tags"],
        owner_id=str(row["owner_id"]),
        topics=row["topics"],
        collection_ids=map(str, row["collection_ids"]),
        latest_version=row["latest_version"],
        etag=etag_of(row["id"], row["revision"]),
        create_time=_timestamp(row["created_at"]),
        update_time=_timestamp(row["updated_at"]),
    )


def version(row: Row) -> pb.Version:
    """A version, with the agent as it was."""
    return pb.Version(
        agent_id=str(row["id"]),
        number=row["number"],
        agent=agent(row),
        creator_id=row["creator_id"],
        create_time=_timestamp(row["updated_at"]),
    )


def execution(row: Row) -> pb.Execution:
    """A run; its end is unset while it runs."""
    started, ended = row["started_at"], row["ended_at"]
    return pb.Execution(
        id=str(row["id"]),
        agent_id=str(row["agent_id"]),
        version=row["version"],
        status=EXECUTION_STATUS_NUMBERS[row["status"]],
        input=_struct(row["input"]),
        output=_struct(row["output"]),
        error=row["error"],
        start_time=_timestamp(started),
        end_time=_timestamp(ended) if ended else None,
        duration=_duration(ended - started) if ended else None,
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
    )


def relation(stored: Relation) -> pb.Relation:
    """A relation."""
    number = RELATION_TYPE_NUMBERS[stored.type]
    return pb.Relation(source_id=str(stored.source_id), target_id=str(stored.target_id), type=number)


PAYLOADS: Mapping[str, Any] = {
    "agent": events_pb2.AgentChanged,
    "relation": events_pb2.RelationChanged,
    "execution": events_pb2.ExecutionChanged,
}


def event(committed: Event) -> events_pb2.Event:
    """An event of the feed."""
    message = events_pb2.Event(
        position=str(committed.position),
        organization_id=str(committed.organization_id),
        entity_id=committed.entity_id,
        revision=committed.revision,
        create_time=_timestamp(committed.create_time),
    )
    getattr(message, committed.kind).MergeFrom(PAYLOADS[committed.kind](**committed.payload))
    return message
