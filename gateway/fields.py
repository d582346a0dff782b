"""How long the fields of an operation waited for their values: one span for each field, however many objects have it.

These spans tell a reader what asked for what; they hold nothing up by themselves. Many fields wait for one call, which
stands beside them in the trace and is what the critical path runs through.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from typing import Any

from graphql import GraphQLObjectType, GraphQLSchema

from gateway.errors import RemoteError
from gateway.resolvers.messages import Read
from services.runtime.outcomes import status_of
from services.runtime.span_wire import OK, Attributes, Kind, Span, span_id
from services.runtime.telemetry import Recording

SERVICE = "gateway"


class _Field:
    """One field of one type, in all objects of an answer; times in nanoseconds."""

    __slots__ = ("_recording", "count", "end", "start", "status")

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.start = self.end = recording.elapsed()
        self.count = 0
        self.status = OK

    def note(self, error: BaseException | None) -> None:
        """A value has come, or will not."""
        self.end = self._recording.elapsed()
        if error is not None:
            self.status = error.code.value[0] if isinstance(error, RemoteError) else status_of(error)

    def note_future(self, value: "asyncio.Future[Any]") -> None:
        """As a future tells it."""
        self.note(asyncio.CancelledError() if value.cancelled() else value.exception())


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
            field = self._fields[name] = _Field(self._recording)
        field.count += 1
        if isinstance(value, asyncio.Future):
            value.add_done_callback(field.note_future)
            return value
        return _awaited(field, value)

    def spans(self) -> Iterator[Span]:
        """A span for each field. They owe nothing, so they are only made for a trace that is kept."""
        base = self._recording.base
        for name, field in self._fields.items():
            attributes: Attributes | None = {"graphql.field.count": field.count} if field.count > 1 else None
            own_id, status = span_id(base, self._recording.next_index()), field.status
            yield Span(own_id, base, SERVICE, Kind.FIELD, name, field.start, field.end, status, attributes)


async def _awaited(field: _Field, value: Awaitable[Any]) -> Any:
    try:
        result = await value
    except BaseException as error:
        field.note(error)
        raise
    field.note(None)
    return result


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
