"""graphql-core's executor with a short way for leaves: most of an answer is texts and numbers read from messages.

graphql-core resolves, wraps and completes each of them as it would an object, at several times the cost. Whatever is
not plain here, or fails, goes the long way, so that errors are graphql-core's own.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from ariadne.resolvers import is_default_resolver
from ariadne.utils import convert_camel_case_to_snake
from graphql import (
    Executor,
    GraphQLField,
    GraphQLID,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from gateway.resolvers.messages import Read

TEXTS = (GraphQLID, GraphQLString)


class Leaf(NamedTuple):
    """How a leaf is read from its source, and made fit for JSON."""

    get: Callable[[Any], Any]
    coerce: Callable[[Any], Any]
    required: bool


Leaves = Mapping[str, Mapping[str, Leaf]]
"""By the name of the type, then of the field."""


def read_by_name(schema: GraphQLSchema) -> None:
    """Let every field without a resolver of its own be read from the attribute with its snake-case name."""
    kinds = [kind for kind in schema.type_map.values() if isinstance(kind, GraphQLObjectType)]
    for name, field in (item for kind in kinds for item in kind.fields.items()):
        if is_default_resolver(field.resolve):
            field.resolve = Read(attrgetter(convert_camel_case_to_snake(name)))


def leaves_of(schema: GraphQLSchema) -> Leaves:
    """The leaves of the schema that are read and nothing else."""
    return {
        kind.name: {name: leaf for name, field in kind.fields.items() if (leaf := _leaf(field))}
        for kind in schema.type_map.values()
        if isinstance(kind, GraphQLObjectType)
    }


def _leaf(field: GraphQLField) -> Leaf | None:
    kind = get_nullable_type(field.type)
    if not isinstance(field.resolve, Read) or field.args:
        return None
    if is_list_type(kind) and get_nullable_type(kind.of_type) in TEXTS:
        return Leaf(field.resolve.get, list, is_non_null_type(field.type))
    if is_leaf_type(kind):
        coerce = str if kind in TEXTS else kind.coerce_output_value
        return Leaf(field.resolve.get, coerce, is_non_null_type(field.type))
    return None


class LeafExecutor(Executor[Any]):
    """Reads plain leaves at once."""

    def __init__(self, *arguments: Any, leaves: Leaves, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._leaves = leaves

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_details_list: Any, path: Any, position_context: Any
    ) -> Any:
        leaf = self._leaves[parent_type.name].get(field_details_list[0].node.name.value)
        if leaf is not None:
            try:
                value = leaf.get(source)
                if value is not None:
                    return leaf.coerce(value)
                if not leaf.required:
                    return None
            except Exception:  # noqa: S110 - the long way meets it again, and reports it
                pass
        return super().execute_field(parent_type, source, field_details_list, path, position_context)
