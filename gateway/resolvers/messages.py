"""Proto messages as GraphQL objects: fields go by their snake-case names, and what proto leaves empty may be null."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from ariadne import ObjectType
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.context import Info


@dataclass(frozen=True, slots=True)
class Read:
    """A resolver that needs no more than its source. The executor has a short way for it; see executor.py."""

    get: Callable[[Any], Any]

    def __call__(self, source: Any, _: Info) -> Any:
        return self.get(source)


def read(bindable: ObjectType, paths: Mapping[str, str]) -> None:
    """Fields that stand elsewhere in the message: `{"text": "point.text"}`."""
    for name, path in paths.items():
        bindable.set_field(name, Read(attrgetter(path)))


def null_when_unset(bindable: ObjectType, *names: str) -> None:
    """Message fields of a message: null unless they are set."""
    for path in names:
        outer, _, name = path.rpartition(".")
        bindable.set_field(camel_case(name), Read(_set_message(outer, name)))


def null_when_empty(bindable: ObjectType, *names: str) -> None:
    """Text fields of a message: null when they are empty."""
    for name in names:
        bindable.set_field(camel_case(name), Read(_text(name)))


def camel_case(name: str) -> str:
    """`owner_id` -> `ownerId`."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _set_message(outer: str, name: str) -> Callable[[Any], Any]:
    def get(source: Any) -> Any:
        message = getattr(source, outer) if outer else source
        return getattr(message, name) if message.HasField(name) else None

    return get


def _text(name: str) -> Callable[[Any], str | None]:
    text = attrgetter(name)
    return lambda source: text(source) or None


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A moment as messages have it, or none."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message
