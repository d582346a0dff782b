"""What `neurectomy blame` prints: who owes a percentile, or which operations there are to ask about."""

from collections.abc import Iterable

from rich.console import RenderableType

from deploy.traces.figures import Bar, change, figure, figures, framed, interval, ms, numbers, plain, rough
from neurectomy.traces.v1 import traces_pb2 as pb
from services.traces.attribution import NEEDED

LOWER = (99, 95, 90, 75, 50)
"""What is asked for where a percentile has too few requests beyond it."""


def blame_table(answer: pb.BlameResponse, percentile: float) -> RenderableType:
    """Who owes the percentile, largest excess over the median first; the parts sum to it exactly."""
    name = f"P{percentile:g}"
    if not answer.parts:
        return plain(f"{_title(answer, name)}\n{too_few(answer, percentile)}")
    table = figures()
    table.add_column("owed to", no_wrap=True)
    numbers(table, f"{name} ms", "over P50", "95 %", "tail ms", "calls x ms")
    table.add_column("")
    for part in answer.parts:
        table.add_row(*_row(part, answer.latency_ns))
    table.add_section()
    excess = change(answer.latency_ns - answer.median_ns)
    table.add_row("sum", figure(answer.latency_ns), excess, "", figure(answer.tail_ns), style="bold")
    return framed(_title(answer, name), table, _caption(answer))


def _row(part: pb.BlamedPart, whole: int) -> Iterable[RenderableType]:
    yield plain(part.label)
    yield figure(part.duration_ns)
    yield change(part.excess_ns)
    yield interval(part.excess_low_ns, part.excess_high_ns)
    yield figure(part.tail_ns)
    yield f"{part.calls:.1f} x {rough(part.per_call_ns)}" if part.calls else ""
    yield Bar(part.duration_ns, whole)


def operations_table(seen: Iterable[pb.Operation], window_seconds: int) -> RenderableType:
    """What can be blamed, the most frequent first."""
    table = figures()
    table.add_column("operation", overflow="fold")
    numbers(table, "requests", "P50 ms", "P95 ms", "P99 ms")
    for one in seen:
        table.add_row(
            plain(one.operation), f"{one.request_count:,}", *map(figure, (one.p50_ns, one.p95_ns, one.p99_ns))
        )
    return table


def too_few(answer: pb.BlameResponse, percentile: float) -> str:
    """Why nobody is named, and what to ask for instead."""
    enough = (lower for lower in LOWER if lower < percentile and answer.request_count * (100 - lower) > NEEDED * 100)
    lower = next((f"--percentile {lower} or " for lower in enough), "")
    return (
        f"Too few to name anyone: {answer.tail_count} of {NEEDED} requests beyond the percentile "
        f"({answer.request_count:,} in all). Ask for {lower}a longer --window."
    )


def _title(answer: pb.BlameResponse, name: str) -> str:
    operation = answer.operation or "all operations"
    return f"{operation}: {name} {ms(answer.latency_ns)}, median {ms(answer.median_ns)}"


def _caption(answer: pb.BlameResponse) -> str:
    lines = [
        f"{answer.request_count:,} requests, {answer.tail_count:,} beyond the percentile; "
        f"percentiles within {answer.error_percent:.2g} %.",
        f"{answer.coverage_percent:.1f} % of the time is owed by someone who recorded spans{_flags(answer)}.",
    ]
    traces = {"slowest": answer.slowest_trace_id, "typical": answer.typical_trace_id}
    return "\n".join(lines + [f"{name} trace {trace_id}" for name, trace_id in traces.items() if trace_id])


def _flags(answer: pb.BlameResponse) -> str:
    flags = {
        "incomplete": answer.incomplete_count,
        "ambiguous": answer.ambiguous_count,
        "spans dropped": answer.dropped_count,
    }
    return "".join(f"; {name}: {count:,}" for name, count in flags.items() if count)
