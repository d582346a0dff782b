"""What an operation may cost at most: the number of objects in its answer, lists taken as long as they may get.

A list is as long as `first` of the field that has it, or of the field around it, says: a literal, or a variable. The
cost of a document is therefore a sum of products of its variables, made once, and filled in for each request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from gateway.limits import LimitExceeded, fragments_of

SIZE = "first"
MAX_TERMS = 1_000

_Length: TypeAlias = int | str
"""A number, or the name of a variable that holds it."""
_Terms: TypeAlias = dict[tuple[str, ...], int]
"""Names of variables to be multiplied -> with what."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an operation, for any values of its variables."""

    terms: tuple[tuple[tuple[str, ...], int], ...]
    defaults: Mapping[str, int]

    def of(self, variables: Mapping[str, Any]) -> int:
        """With these variables. What is no number costs nothing here, because it will be refused later."""
        return sum(factor * prod(self._length(name, variables) for name in names) for names, factor in self.terms)

    def _length(self, name: str, variables: Mapping[str, Any]) -> int:
        length = variables.get(name, self.defaults.get(name))
        return max(length, 1) if isinstance(length, int) else 1


def cost_of(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode, limit: int) -> Cost:
    """The cost of a valid operation. Raises LimitExceeded when it is too intricate to be taken."""
    root = schema.get_root_type(operation.operation)
    terms = _Taker(schema, document, limit).of_set(operation.selection_set, cast(GraphQLCompositeType, root), None)
    defaults = {
        definition.variable.name.value: int(definition.default_value.value)
        for definition in operation.variable_definitions or ()
        if isinstance(definition.default_value, IntValueNode)
    }
    return Cost(tuple(terms.items()), defaults)


class _Taker:
    """Takes the cost of one document's operations, looking at each fragment once for each length around it."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, limit: int) -> None:
        self._schema = schema
        self._limit = limit
        self._fragments = fragments_of(document)
        self._taken: dict[tuple[str, _Length | None], _Terms] = {}

    def of_set(self, selection_set: SelectionSetNode, parent: GraphQLCompositeType, around: _Length | None) -> _Terms:
        total: _Terms = {}
        for selection in selection_set.selections:
            match selection:
                case FieldNode():
                    terms = self._of_field(selection, parent, around)
                case InlineFragmentNode():
                    terms = self.of_set(selection.selection_set, self._type(selection.type_condition, parent), around)
                case FragmentSpreadNode():
                    terms = self._of_fragment(selection.name.value, around)
                case _:
                    raise TypeError(type(selection))
            _add(total, terms)
        if len(total) > MAX_TERMS:
            raise LimitExceeded("COST", "the document is too intricate to tell its cost", self._limit)
        return total

    def _of_fragment(self, name: str, around: _Length | None) -> _Terms:
        if (name, around) not in self._taken:
            fragment = self._fragments[name]
            parent = self._type(fragment.type_condition, None)
            self._taken[name, around] = self.of_set(fragment.selection_set, parent, around)
        return self._taken[name, around]

    def _of_field(self, node: FieldNode, parent: GraphQLCompositeType, around: _Length | None) -> _Terms:
        field = self._schema.get_field(parent, node.name.value)
        if field is None or node.selection_set is None or node.name.value.startswith("__"):
            return {}
        length = _length(node, field)
        inner = cast(GraphQLCompositeType, get_named_type(field.type))
        if not is_list_type(get_nullable_type(field.type)):
            return _add({(): 1}, self.of_set(node.selection_set, inner, length))
        each = _add({(): 1}, self.of_set(node.selection_set, inner, None))
        return _multiply(each, length or around or 1)

    def _type(self, condition: Any, otherwise: GraphQLCompositeType | None) -> GraphQLCompositeType:
        named = self._schema.get_type(condition.name.value) if condition else otherwise
        assert named is not None
        assert is_composite_type(named)
        return named


def _length(node: FieldNode, field: GraphQLField) -> _Length | None:
    """What the field's `first` says, if it has one."""
    if SIZE not in field.args:
        return None
    given = [argument.value for argument in node.arguments or () if argument.name.value == SIZE]
    definition = field.args[SIZE].ast_node
    match given[0] if given else definition and definition.default_value:
        case VariableNode() as variable:
            return variable.name.value
        case IntValueNode() as literal:
            return max(int(literal.value), 1)
    return None


def _add(total: _Terms, terms: _Terms) -> _Terms:
    for names, factor in terms.items():
        total[names] = total.get(names, 0) + factor
    return total


def _multiply(terms: _Terms, length: _Length) -> _Terms:
    if isinstance(length, int):
        return {names: factor * length for names, factor in terms.items()}
    return {tuple(sorted((*names, length))): factor for names, factor in terms.items()}
