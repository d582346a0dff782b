"""Documents that were parsed, measured and validated before, by their text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    Token,
    TokenKind,
    parse,
    validate,
)

from gateway.cost import Cost, cost_of
from gateway.errors import RequestError
from gateway.limits import LimitExceeded, Limits, check_shape
from services.runtime.span_wire import Kind
from services.runtime.telemetry import span

MAX_ERRORS = 10
CHARACTERS_OF_TOKEN = 500
"""About as many bytes as a token takes when it is parsed."""
LONGEST_NAME = 100
"""So much of an operation's name is in its label, which metrics and latencies are kept by; the hash has all of it."""
LITERALS = {TokenKind.INT, TokenKind.FLOAT, TokenKind.STRING, TokenKind.BLOCK_STRING}
UNSEEN = {TokenKind.SOF, TokenKind.EOF, TokenKind.COMMENT}
BEGINNINGS = {"register", "logIn", "refresh", "requestPasswordReset", "resetPassword", "acceptInvitation"}
"""Mutations that are open to anyone."""


class OperationUnknown(RequestError):
    """The request names no operation that its document has."""

    code: ClassVar[str] = "OPERATION_RESOLUTION_FAILURE"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a valid document."""

    type: OperationType
    label: str
    """What its latencies are told apart by: type, name, and a hash of the document without its literals."""
    cost: Cost
    begins: bool
    """Whether it asks only for what begins or renews a session, and so needs none."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or why it is none."""

    ast: DocumentNode | None
    operations: Mapping[str | None, Operation]
    """By name; under None, too, when there is only one."""
    errors: tuple[GraphQLError, ...]
    tokens: int
    """How many it has, or may have had at most."""

    def operation(self, name: str | None) -> Operation:
        """The one to be run. Raises OperationUnknown."""
        try:
            return self.operations[name]
        except KeyError:
            raise OperationUnknown(
                f"there is no operation named {name!r}" if name else "operationName must say which operation to run"
            ) from None


class Documents:
    """Keeps the documents that were used last, up to a number of tokens in all."""

    def __init__(self, schema: GraphQLSchema, limits: Limits, capacity: int) -> None:
        self._schema = schema
        self._limits = limits
        self._room = capacity
        self._kept: dict[str, Document] = {}

    def get(self, text: str) -> Document:
        """The document with this text."""
        document = self._kept.pop(text, None)
        if document is None:
            with span(Kind.INTERNAL, "graphql.document"):
                document = self._read(text)
            self._room -= _weight(text, document)
        self._kept[text] = document
        if self._room < 0:
            self._make_room()
        return document

    def _make_room(self) -> None:
        while self._room < 0:
            oldest = next(iter(self._kept))
            self._room += _weight(oldest, self._kept.pop(oldest))

    def _read(self, text: str) -> Document:
        try:
            ast = _parse(text, self._limits)
            tokens = list(_tokens(ast))
            check_shape(ast, self._limits)
            errors = validate(self._schema, ast, max_errors=MAX_ERRORS)
            if errors:
                return _refused(errors, "GRAPHQL_VALIDATION_FAILED", len(tokens))
            return Document(ast, self._operations(ast, _signature(tokens)), (), len(tokens))
        except GraphQLSyntaxError as error:
            return _refused([error], "GRAPHQL_PARSE_FAILED", self._limits.tokens)
        except LimitExceeded as error:
            return _refused([GraphQLError(str(error), original_error=error)], error.code, self._limits.tokens)

    def _operations(self, ast: DocumentNode, signature: str) -> dict[str | None, Operation]:
        operations: dict[str | None, Operation] = {}
        for definition in ast.definitions:
            if isinstance(definition, OperationDefinitionNode):
                name = definition.name.value if definition.name else None
                label = f"{definition.operation.value} {(name or 'anonymous')[:LONGEST_NAME]} {signature}"
                cost = cost_of(self._schema, ast, definition, self._limits.cost)
                operations[name] = Operation(definition.operation, label, cost, _begins(definition))
        if len(operations) == 1:
            operations[None] = next(iter(operations.values()))
        return operations


def _begins(definition: OperationDefinitionNode) -> bool:
    roots = definition.selection_set.selections
    return all(isinstance(root, FieldNode) and root.name.value in BEGINNINGS for root in roots)


def _parse(text: str, limits: Limits) -> DocumentNode:
    if len(text) > limits.document_characters:
        raise LimitExceeded("DOCUMENT_CHARACTERS", "the document is too long", limits.document_characters)
    try:
        return parse(text, max_lexical_tokens=limits.tokens, max_comments=limits.tokens)
    except GraphQLSyntaxError as error:
        raise _limit_of(error, limits) or error from None


def _limit_of(error: GraphQLSyntaxError, limits: Limits) -> LimitExceeded | None:
    """graphql-core reports the limits that it keeps for us as syntax errors, told apart by their words alone."""
    if error.message.endswith((" tokens. Parsing aborted.", " comments. Parsing aborted.")):
        return LimitExceeded("TOKENS", "the document has too many tokens", limits.tokens)
    if error.message.endswith(" nested too deeply. Parsing aborted."):
        return LimitExceeded("DEPTH", "the document is too deep", limits.depth)
    return None


def _weight(text: str, document: Document) -> int:
    """In tokens. A long text with few of them takes room, too."""
    return document.tokens + len(text) // CHARACTERS_OF_TOKEN


def _tokens(ast: DocumentNode) -> Iterable[Token]:
    token = ast.loc.start_token if ast.loc else None
    while token is not None:
        yield token
        token = token.next


def _signature(tokens: Iterable[Token]) -> str:
    """Eight hexadecimal digits that are the same for documents that differ in layout and literals only."""
    words = (
        "?" if token.kind in LITERALS else token.value or token.kind.value
        for token in tokens
        if token.kind not in UNSEEN
    )
    return sha256(" ".join(words).encode()).hexdigest()[:8]


def _refused(errors: Iterable[GraphQLError], code: str, tokens: int) -> Document:
    kept = tuple(errors)
    for error in kept:
        error.extensions = {**(error.extensions or {}), "code": code}
    return Document(None, {}, kept, tokens)
