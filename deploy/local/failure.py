"""What the local stack says when it cannot go on."""

from collections.abc import Iterator
from contextlib import contextmanager


class StackError(Exception):
    """One message, for the person who started the stack: what is wrong, and what to do about it."""


@contextmanager
def first_failure() -> Iterator[None]:
    """Raise the first StackError of an exception group by itself: the others are its consequences."""
    try:
        yield
    except BaseExceptionGroup as group:
        failure = next((error for error in leaves(group) if isinstance(error, StackError)), None)
        if failure is None:
            raise
        raise failure from None


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The single exceptions in a group and in its groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
