"""One GraphQL request from its parameters to its answer, whatever it came by."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ariadne import load_schema_from_path, make_executable_schema
from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLSchema,
    create_source_event_stream,
    execute,
)

from gateway.changes import Subscription
from gateway.context import Context
from gateway.documents import Documents, Operation
from gateway.errors import RequestError, format_error
from gateway.executor import LeafExecutor, leaves_of, read_by_name
from gateway.fields import watch_fields
from gateway.limits import LimitExceeded, Limits
from gateway.resolvers import (
    agent_store,
    api_keys,
    audit,
    auth,
    changes,
    explanations,
    graph,
    invitations,
    nodes,
    organizations,
    passwords,
    roles,
    scalars,
    second_factor,
    sessions,
    traces,
    vector_search,
)

AUTH = (auth, passwords, second_factor, sessions, api_keys, organizations, invitations, roles, explanations, audit)
AREAS = (scalars, nodes, *AUTH, agent_store, vector_search, graph, traces, changes)
MAX_COERCION_ERRORS = 10


def load_schema() -> GraphQLSchema:
    """The schema with our resolvers, which know arguments and fields by their snake-case names."""
    type_defs = load_schema_from_path(str(Path(__file__).parent / "schema"))
    bindables = [each for area in AREAS for each in area.bindables]
    schema = make_executable_schema(type_defs, *bindables, convert_names_case=True)
    read_by_name(schema)
    watch_fields(schema)
    return schema


class BadRequest(RequestError):
    """The request is not one of GraphQL over HTTP or WebSocket."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a client sends, whatever the transport."""

    query: str
    variables: dict[str, Any]
    operation_name: str | None

    @classmethod
    def of(cls, raw: object) -> "Parameters":
        """From decoded JSON. Raises BadRequest."""
        if not isinstance(raw, dict):
            raise BadRequest("the request must be a JSON object")
        query, variables, name = raw.get("query"), raw.get("variables"), raw.get("operationName")
        if not isinstance(query, str):
            raise BadRequest("`query` must be a text")
        if not isinstance(variables, dict | None):
            raise BadRequest("`variables` must be an object")
        if not isinstance(name, str | None):
            raise BadRequest("`operationName` must be a text")
        if not isinstance(raw.get("extensions"), dict | None):
            raise BadRequest("`extensions` must be an object")
        return cls(query, variables or {}, name or None)


class Refused(Exception):
    """The request is not executed, because of these errors."""

    def __init__(self, errors: Iterable[GraphQLError]) -> None:
        super().__init__()
        self.errors = [format_error(error) for error in errors]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that may be executed."""

    ast: DocumentNode
    operation: Operation
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to the client, and what the gateway itself wants to know of it."""

    body: dict[str, Any]
    codes: frozenset[str]
    """`extensions.code` of its errors."""


class Engine:
    """Prepares and executes requests."""

    def __init__(self, schema: GraphQLSchema, documents: Documents, limits: Limits) -> None:
        self._schema = schema
        self._leaves = leaves_of(schema)
        self._documents = documents
        self._limits = limits

    def prepare(self, parameters: Parameters) -> Prepared:
        """Read the document and keep to the limits. Raises Refused."""
        document = self._documents.get(parameters.query)
        if document.ast is None:
            raise Refused(document.errors)
        try:
            operation = document.operation(parameters.operation_name)
            self._check_cost(operation.cost.of(parameters.variables))
        except RequestError as error:
            raise Refused([GraphQLError(str(error), original_error=error)]) from None
        return Prepared(document.ast, operation, parameters)

    def _check_cost(self, cost: int) -> None:
        if cost > self._limits.cost:
            raise LimitExceeded("COST", f"the answer may hold {cost:,} objects", self._limits.cost)

    async def execute(self, prepared: Prepared, context: Context, event: object = None) -> Answer:
        """Run the operation; `event` is what a subscription tells of. Raises Refused for unfit variables."""
        running: Any = execute(
            self._schema,
            prepared.ast,
            event,
            context,
            prepared.parameters.variables,
            prepared.parameters.operation_name,
            max_coercion_errors=MAX_COERCION_ERRORS,
            executor_class=LeafExecutor,
            leaves=self._leaves,
        )
        result = running if isinstance(running, ExecutionResult) else await running
        return _answer(result, context.extensions())

    async def subscribe(self, prepared: Prepared, context: Context) -> Subscription:
        """The events of a subscription. Raises Refused."""
        executor = Executor.build(
            self._schema,
            prepared.ast,
            context_value=context,
            raw_variable_values=prepared.parameters.variables,
            operation_name=prepared.parameters.operation_name,
            max_coercion_errors=MAX_COERCION_ERRORS,
        )
        if isinstance(executor, list):
            raise Refused(executor)
        starting: Any = create_source_event_stream(executor)
        stream = await starting if executor.is_awaitable(starting) else starting
        if isinstance(stream, ExecutionResult):
            raise Refused(stream.errors or ())
        return cast(Subscription, stream)


def _answer(result: ExecutionResult, extensions: dict[str, Any] | None) -> Answer:
    body: dict[str, Any] = {"data": result.data}
    if extensions is not None:
        body["extensions"] = extensions
    if not result.errors:
        return Answer(body, frozenset())
    if result.data is None and result.errors[0].path is None:
        raise Refused(result.errors)
    body["errors"] = errors = [format_error(error) for error in result.errors]
    return Answer(body, frozenset(error["extensions"]["code"] for error in errors))
