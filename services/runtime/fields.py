"""What may stand in a field. A rule takes a value and says what is wrong with it, or nothing."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from services.runtime.errors import InvalidFields

Rule = Callable[[Any], str | None]
FREE_FORM_BYTES = 100_000
FREE_FORM_TOO_LARGE = f"must be at most {FREE_FORM_BYTES:,} bytes of JSON"
BATCH_IDS = 1_000
NO_UUID = "must be a UUID"
NUL = "must not contain the character U+0000"


def as_uuid(text: str) -> UUID | None:
    """The UUID, or None for a text that is not the usual spelling of one."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def uuids(texts: Iterable[str]) -> list[UUID]:
    """Those of the texts that are UUIDs, each once, in order."""
    return [found for text in dict.fromkeys(texts) if (found := as_uuid(text))]


def identifier(value: str) -> str | None:
    """A UUID."""
    return NO_UUID if as_uuid(value) is None else None


def text(shortest: int, longest: int) -> Rule:
    """A text of so many characters."""
    return partial(_text, shortest=shortest, longest=longest)


def _text(value: str, shortest: int, longest: int) -> str | None:
    if not shortest <= len(value) <= longest:
        return f"must have {shortest} to {longest:,} characters"
    return NUL if "\0" in value else None


def number(least: int, most: int) -> Rule:
    """A number within bounds, both included."""
    return lambda value: None if least <= value <= most else f"must be {least} to {most:,}"


def one_of(*names: str) -> Rule:
    """One of a few words."""
    return lambda value: None if value in names else f"must be one of {', '.join(names)}"


def optional(rule: Rule) -> Rule:
    """Nothing at all, or what the rule asks for."""
    return lambda value: rule(value) if value else None


def each(rule: Rule, most: int) -> Rule:
    """A list of at most so many, all of which satisfy the rule."""
    return partial(_each, rule=rule, most=most)


def _each(values: Sequence[Any], rule: Rule, most: int) -> str | None:
    if len(values) > most:
        return f"must be at most {most:,}"
    return next((f"each {problem}" for value in values if (problem := rule(value))), None)


def free_form(value: Mapping[str, Any]) -> str | None:
    """JSON that PostgreSQL can hold: of bounded size, without U+0000, and with finite numbers only."""
    if len(orjson.dumps(value)) > FREE_FORM_BYTES:
        return FREE_FORM_TOO_LARGE
    return next((problem for leaf in _leaves(value) if (problem := _leaf(leaf))), None)


def _leaf(value: object) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "must hold finite numbers only"
    return NUL if isinstance(value, str) and "\0" in value else None


def _leaves(value: object) -> Iterator[object]:
    """Every key and every value that holds no others."""
    if isinstance(value, Mapping):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


BATCH = each(lambda _id: None, BATCH_IDS)
"""A batch of ids; those that are none stand for nothing."""


def problems(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, str]:
    """What is wrong with each value, by its field."""
    return {field: problem for field, value in values.items() if (problem := rules[field](value))}


def check(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Raise InvalidFields, naming every value that breaks its rule."""
    if found := problems(values, rules):
        raise InvalidFields(**found)
