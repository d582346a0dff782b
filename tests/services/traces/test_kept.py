"""A kept trace is asked in threads while spans still come."""

from services.runtime.span_wire import Kind, Span
from services.traces.kept import Trace

ROOM = 10**9


def _span(number: int) -> Span:
    return Span(f"{number:016x}", None if number == 1 else f"{1:016x}", "a", Kind.INTERNAL, "b", 0, 10)


class Growing(Trace):
    """One more span comes whenever it has been read."""

    def spans(self) -> list[Span]:
        found = super().spans()
        self.add_span(_span(self.span_count + 1), ROOM)
        return found


def test_a_span_that_comes_while_a_summary_is_made_is_in_the_next() -> None:
    trace = Growing("0" * 32, 0.0)
    trace.add_span(_span(1), ROOM)
    assert [trace.summary().span_count for _ in range(3)] == [1, 2, 3]
