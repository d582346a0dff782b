"""Leaves: how moments, free-form objects, long numbers and enums look in proto and in GraphQL."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ariadne import EnumType, ScalarType
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from graphql import GraphQLError

from neurectomy.agent_store.v1 import agent_store_pb2 as agents_pb
from neurectomy.auth.v1 import api_keys_pb2, explanations_pb2
from neurectomy.graph.v1 import graph_pb2
from neurectomy.vector_search.v1 import vector_search_pb2 as vectors_pb

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NESTING = 32
MAX_LONG = 2**63
EXACT = 2**53
"""Below it, floating point holds every whole number."""

moment = ScalarType("DateTime")
free_form = ScalarType("JSONObject")
long = ScalarType("Long")


@moment.serializer
def moment_out(value: Timestamp | datetime) -> datetime:
    """orjson writes it as RFC 3339."""
    if isinstance(value, datetime):
        return value
    return EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1_000)


@moment.value_parser
def moment_in(value: Any) -> datetime:
    """A datetime with a zone."""
    try:
        parsed = datetime.fromisoformat(value)
        zoned = parsed.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise GraphQLError("DateTime is a text like 2026-11-23T21:09:07Z") from None
    if parsed.tzinfo is None:
        raise GraphQLError("DateTime needs a zone, for example Z at its end")
    return zoned


@free_form.serializer
def free_form_out(value: Struct | Mapping[str, str]) -> dict[str, Any]:
    """Plain dicts and lists. Whole numbers come out as such, for a Struct knows floating point only."""
    if not isinstance(value, Struct):
        return dict(value)
    return {name: _plain(inner) for name, inner in value.fields.items()}


def _plain(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return free_form_out(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < EXACT else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
    return None


@free_form.value_parser
def free_form_in(value: Any) -> dict[str, Any]:
    """A dict that protobuf can hold."""
    if not isinstance(value, dict):
        raise GraphQLError("JSONObject is an object, for example {}")
    if _nesting(value) > MAX_NESTING:
        raise GraphQLError(f"JSONObject may be nested at most {MAX_NESTING} deep")
    return value


def _nesting(value: Any) -> int:
    """How deep it goes, looked for no deeper than it may."""
    depth, level = 0, [value]
    while level and depth <= MAX_NESTING:
        depth += 1
        level = [item for inner in level if isinstance(inner, dict | list) for item in _items(inner)]
    return depth - 1


def _items(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


@long.serializer
def long_out(value: int) -> int:
    return value


@long.value_parser
def long_in(value: Any) -> int:
    """An integer of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not -MAX_LONG <= value < MAX_LONG:
        raise GraphQLError("Long is a whole number of 64 bits")
    return value


def _enum(name: str, values: Any, prefix: str) -> EnumType:
    """GraphQL's names are the proto's without the prefix; the proto's zero has none."""
    return EnumType(name, {full.removeprefix(prefix): number for full, number in values.items() if number})


bindables = [
    moment,
    free_form,
    long,
    _enum("AccessCause", explanations_pb2.AccessCause, "ACCESS_CAUSE_"),
    _enum("AgentStatus", agents_pb.AgentStatus, "AGENT_STATUS_"),
    _enum("ExecutionStatus", agents_pb.ExecutionStatus, "EXECUTION_STATUS_"),
    _enum("RelationType", agents_pb.RelationType, "RELATION_TYPE_"),
    _enum("Metric", vectors_pb.Metric, "METRIC_"),
    _enum("NodeType", graph_pb2.NodeType, "NODE_TYPE_"),
    _enum("ApiKeyState", api_keys_pb2.ApiKeyState, "API_KEY_STATE_"),
    _enum("EdgeType", graph_pb2.EdgeType, "EDGE_TYPE_"),
    _enum("Direction", graph_pb2.Direction, "DIRECTION_"),
]
