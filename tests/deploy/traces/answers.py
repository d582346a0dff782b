"""Answers of the traces service, made by hand."""

from datetime import UTC, datetime

from rich.console import Console, RenderableType

from deploy.traces.baselines import Baseline
from neurectomy.traces.v1 import traces_pb2 as pb

MS = 1_000_000
THEN = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)


def drawn(what: RenderableType, width: int = 80) -> str:
    """As it comes out of a terminal of that width, or of a pipe."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def answer(operation: str = "query Q 0a1b2c3d", **milliseconds: float) -> pb.BlameResponse:
    """A P99 that these labels are owed; each as surely as a tenth of it. `graph__neo4j` is `graph/neo4j`."""
    parts = [_part(label.replace("__", "/"), round(time * MS)) for label, time in milliseconds.items()]
    return pb.BlameResponse(
        operation=operation,
        request_count=5_000,
        tail_count=50 if parts else 3,
        latency_ns=sum(part.duration_ns for part in parts),
        median_ns=sum(part.duration_ns - part.excess_ns for part in parts),
        tail_ns=sum(part.tail_ns for part in parts),
        parts=parts,
        coverage_percent=97.25,
        error_percent=2.93,
        dropped_count=7,
        slowest_trace_id="5" * 32,
    )


def _part(label: str, time: int) -> pb.BlamedPart:
    return pb.BlamedPart(
        label=label,
        duration_ns=time,
        excess_ns=time // 2,
        low_ns=time - time // 10,
        high_ns=time + time // 10,
        tail_ns=time * 2,
        calls=3.0,
        per_call_ns=time // 3,
        excess_low_ns=-time // 10,
        excess_high_ns=time,
    )


def baseline(answer: pb.BlameResponse, percentile: float = 99.0) -> Baseline:
    """The answer as it is kept."""
    return Baseline(percentile, 300, THEN, answer)
