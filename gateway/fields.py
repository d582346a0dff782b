"""How long the fields of an operation waited for their values: one span for each field, however many objects have it.

These spans tell a reader what asked for what; they hold nothing up by themselves. Many fields wait for one call, which
stands beside them in the trace and is what the critical path runs through.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from graphql import GraphQLObjectType, GraphQLSchema

from gateway.resolvers.messages import Read
from services.runtime.outcomes import status_of
from services.runtime.span_wire import OK, Attributes, Kind, Recorded
from services.runtime.telemetry import Recording


class _Field:
    """One field of one type, in all objects of an answer; times in nanoseconds."""

    __slots__ = ("count", "end", "start", "status")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.count = 0
        self.status = OK


class Fields:
    """The waiting fields of one operation."""

    __slots__ = ("_fields", "_recording")

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._fields: dict[str, _Field] = {}

    def watch(self, name: str, value: Awaitable[Any]) -> Any:
        """The value, noting when it is there."""
        field = self._fields.get(name)
        if field is None:
            field = self._fields[name] = _Field(self._recording.elapsed())
        field.count += 1
        if isinstance(value, asyncio.Future):
            value.add_done_callback(lambda future: self._note(field, _error(future)))
            return value
        return self._awaited(field, value)

    async def _awaited(self, field: _Field, value: Awaitable[Any]) -> Any:
        try:
            result = await value
        except BaseException as error:
            self._note(field, error)
            raise
        self._note(field, None)
        return result

    def _note(self, field: _Field, error: BaseException | None) -> None:
        field.end = self._recording.elapsed()
        if error is not None:
            field.status = status_of(error)

    def record(self) -> None:
        """Add the fields to the recording, when no more will come."""
        for name, field in self._fields.items():
            attributes: Attributes | None = {"graphql.field.count": field.count} if field.count > 1 else None
            start = field.start // 1_000
            duration = field.end // 1_000 - start
            index = self._recording.next_index()
            self._recording.add(Recorded(index, 0, Kind.FIELD, name, start, duration, field.status, None, attributes))


def _error(future: "asyncio.Future[Any]") -> BaseException | None:
    return asyncio.CancelledError() if future.cancelled() else future.exception()


def watch_fields(schema: GraphQLSchema) -> None:
    """Let every resolver that does more than read its source note how long its value took, where it had to wait."""
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            for name, field in kind.fields.items():
                if field.resolve is not None and not isinstance(field.resolve, Read):
                    field.resolve = _watched(field.resolve, f"{kind.name}.{name}")


def _watched(resolve: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(resolve)
    def resolver(source: Any, info: Any, **arguments: Any) -> Any:
        value = resolve(source, info, **arguments)
        fields: Fields | None = info.context.fields
        if fields is not None and (isinstance(value, asyncio.Future) or inspect.iscoroutine(value)):
            return fields.watch(name, value)
        return value

    return resolver
