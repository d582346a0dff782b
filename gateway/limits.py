"""What one request may ask for. Each bound is a setting, and passing it is an error that names the bound.

Depth, aliases and root fields are taken from the syntax tree before validation, which is far dearer; every spread of a
fragment counts in full, but each fragment is looked at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

from gateway.errors import RequestError


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one request."""

    body_bytes: int
    document_characters: int
    tokens: int
    depth: int
    """Fields inside fields. Introspection does not count; graphql-core bounds it by a rule of its own."""
    aliases: int
    root_fields: int
    cost: int
    """Objects in the answer, taking every list as long as it may get. See cost.py."""


class LimitExceeded(RequestError):
    """A request asks for more than one of the limits allows."""

    code: ClassVar[str] = "LIMIT_EXCEEDED"

    def __init__(self, reason: str, what: str, limit: int) -> None:
        super().__init__(f"{what}; the limit is {limit:,}")
        self._reason = reason
        self._limit = limit

    def extensions(self) -> dict[str, object]:
        return {"code": self.code, "reason": self._reason, "limit": self._limit}


class BodyTooLarge(LimitExceeded):
    """By HTTP this has a status of its own."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__("BODY_BYTES", "the body is too large", limit)


class _Size(NamedTuple):
    """Of a selection set: fields inside fields, aliases at any depth, and fields directly in it."""

    depth: int
    aliases: int
    width: int


NOTHING = _Size(0, 0, 0)


def check_shape(document: DocumentNode, limits: Limits) -> None:
    """Raise LimitExceeded when an operation is too deep, or has too many aliases or root fields."""
    shapes = _Shapes(document, limits)
    for operation in document.definitions:
        if isinstance(operation, OperationDefinitionNode):
            shapes.check(operation)


class _Shapes:
    """Measures the operations of one document."""

    def __init__(self, document: DocumentNode, limits: Limits) -> None:
        self._limits = limits
        self._fragments = fragments_of(document)
        self._measured: dict[str, _Size] = {}

    def check(self, operation: OperationDefinitionNode) -> None:
        limits = self._limits
        size = self._measure(operation.selection_set, 0)
        if size.width > limits.root_fields:
            raise LimitExceeded("ROOT_FIELDS", "too many fields at the root", limits.root_fields)
        if size.aliases > limits.aliases:
            raise LimitExceeded("ALIASES", "too many aliases", limits.aliases)

    def _measure(self, selection_set: SelectionSetNode, level: int) -> _Size:
        """The size below a selection set that is `level` fields deep itself."""
        depth, aliases, width = NOTHING
        for selection in selection_set.selections:
            size = self._selection(selection, level)
            depth, aliases, width = max(depth, size.depth), aliases + size.aliases, width + size.width
        return _Size(depth, aliases, width)

    def _selection(self, selection: SelectionNode, level: int) -> _Size:
        match selection:
            case FieldNode():
                return self._field(selection, level + 1)
            case InlineFragmentNode():
                return self._measure(selection.selection_set, level)
            case FragmentSpreadNode():
                return self._spread(selection.name.value, level)
        raise TypeError(type(selection))

    def _field(self, field: FieldNode, level: int) -> _Size:
        self._check_depth(level)
        aliases = 1 if field.alias else 0
        if field.selection_set is None or field.name.value.startswith("__"):
            return _Size(1, aliases, 1)
        inner = self._measure(field.selection_set, level)
        return _Size(inner.depth + 1, inner.aliases + aliases, 1)

    def _spread(self, name: str, level: int) -> _Size:
        if name not in self._measured and name in self._fragments:
            self._measured[name] = NOTHING  # what a fragment inside itself adds; validation will refuse it
            self._measured[name] = self._measure(self._fragments[name].selection_set, level)
        size = self._measured.get(name, NOTHING)
        self._check_depth(level + size.depth)
        return size

    def _check_depth(self, depth: int) -> None:
        if depth > self._limits.depth:
            raise LimitExceeded("DEPTH", "the document is too deep", self._limits.depth)


def fragments_of(document: DocumentNode) -> Mapping[str, FragmentDefinitionNode]:
    """The document's fragments by name."""
    definitions = document.definitions
    return {each.name.value: each for each in definitions if isinstance(each, FragmentDefinitionNode)}
