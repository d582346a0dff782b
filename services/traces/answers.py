"""What the traces service knows, as messages."""

import json
from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from neurectomy.traces.v1 import traces_pb2 as pb
from services.runtime.span_wire import Kind, Span
from services.traces.attribution import Blame
from services.traces.attribution import Share as BlamedShare
from services.traces.collector import Opened
from services.traces.critical_path import Path, Section, SpanId, shares
from services.traces.kept import Summary
from services.traces.latency import Figures, Judged, Stretch
from services.traces.otlp import STATUS_ATTRIBUTE, Attributes, Line

SECOND = 1_000_000_000


def judged(judged: Judged) -> pb.BlameResponse:
    """The answer to Blame; without parts where the tail is too thin to name anyone."""
    response = pb.BlameResponse(
        operation=judged.operation,
        request_count=judged.requests,
        latency_ns=judged.latency,
        median_ns=judged.median,
        slowest_trace_id=judged.slowest_trace_id,
        tail_count=judged.blame.in_tail,
        coverage_percent=judged.coverage,
        error_percent=judged.error,
    )
    if isinstance(judged.blame, Blame):
        _name(response, judged.blame)
    return response


def _name(response: pb.BlameResponse, blame: Blame) -> None:
    response.parts.extend(_part(share) for share in blame.shares)
    response.tail_ns = blame.tail
    response.typical_trace_id = blame.typical_trace_id
    response.incomplete_count = blame.incomplete
    response.ambiguous_count = blame.ambiguous
    response.dropped_count = blame.dropped


def _part(share: BlamedShare) -> pb.BlamedPart:
    return pb.BlamedPart(
        label=share.label,
        duration_ns=share.time,
        excess_ns=share.excess,
        low_ns=share.low,
        high_ns=share.high,
        tail_ns=share.tail,
        calls=share.calls,
        excess_low_ns=share.excess_low,
        excess_high_ns=share.excess_high,
        per_call_ns=round(share.time_per_call),
    )


def step(stretch: Stretch, figures: Figures) -> pb.BlameStep:
    """One step of a timeline."""
    return pb.BlameStep(
        start_time=_timestamp(int(stretch.low) * SECOND),
        duration=Duration(seconds=int(stretch.high - stretch.low)),
        request_count=figures.requests,
        p50_ns=figures.p50,
        p95_ns=figures.p95,
        p99_ns=figures.p99,
        shares=_shares(figures.shares),
        median_shares=_shares(figures.median_shares),
    )


def operation(name: str, figures: Figures) -> pb.Operation:
    """One operation's figures."""
    return pb.Operation(
        operation=name,
        request_count=figures.requests,
        p50_ns=figures.p50,
        p95_ns=figures.p95,
        p99_ns=figures.p99,
        shares=_shares(figures.shares),
        median_shares=_shares(figures.median_shares),
    )


def summary(summary: Summary) -> pb.TraceSummary:
    """A kept trace in a line."""
    return pb.TraceSummary(
        trace_id=summary.trace_id,
        operation=summary.operation,
        start_time=_timestamp(summary.start),
        duration_ns=summary.duration,
        span_count=summary.span_count,
        failed=summary.failed,
        services=summary.services,
    )


def opened(opened: Opened) -> pb.GetTraceResponse:
    """A kept trace, drawn: times count from its root's begin."""
    origin, critical = opened.summary.start, _critical(opened.path)
    return pb.GetTraceResponse(
        summary=summary(opened.summary),
        spans=[_span(span, origin, critical, opened.labels) for span in _in_depth(opened.spans)],
        shares=_shares(shares(opened.path)),
        incomplete=opened.path.incomplete,
        sections=[_section(section, origin) for section in reversed(opened.path.sections)],
        logs=[_line(line) for line in opened.lines],
    )


def _critical(path: Path) -> Mapping[str, int]:
    """Nanoseconds of the path by span."""
    critical: dict[str, int] = {}
    for span, start, end, _ in path.sections:
        critical[str(span.span_id)] = critical.get(str(span.span_id), 0) + end - start
    return critical


def _in_depth(placed: Sequence[Span]) -> Iterator[Span]:
    """Each span followed by all below it, siblings by their begin. The first of the placed ones is the root."""
    below: dict[SpanId | None, list[Span]] = {}
    for span in placed[1:]:
        below.setdefault(span.parent_id, []).append(span)
    shown, stack = {placed[0].span_id}, [placed[0]]
    while stack:
        span = stack.pop()
        yield span
        children = sorted(below.pop(span.span_id, ()), key=lambda child: child.start, reverse=True)
        shown.update(child.span_id for child in children)
        stack += children
    # A span without a parent here hangs under the root, and a ring of parents is cut; both are drawn last.
    yield from (span for span in placed if span.span_id not in shown)


def _span(span: Span, origin: int, critical: Mapping[str, int], labels: Mapping[SpanId, str]) -> pb.Span:
    attributes = dict(span.attributes or {})
    status_message = attributes.pop(STATUS_ATTRIBUTE, "")
    return pb.Span(
        span_id=str(span.span_id),
        parent_id=str(span.parent_id or ""),
        service=span.service,
        name=span.name,
        kind=Kind(span.kind).name.lower().replace("_", " "),
        start_ns=span.start - origin,
        end_ns=span.end - origin,
        failed=bool(span.status),
        critical_ns=critical.get(str(span.span_id), 0),
        attributes=_texts(attributes),
        label=labels[span.span_id],
        status_message=str(status_message),
    )


def _section(section: Section, origin: int) -> pb.Section:
    span, start, end, label = section
    return pb.Section(span_id=str(span.span_id), start_ns=start - origin, end_ns=end - origin, label=label)


def _line(line: Line) -> pb.LogLine:
    return pb.LogLine(
        time=_timestamp(line.time),
        service=line.service,
        severity=line.severity,
        text=line.text,
        attributes=_texts(line.attributes),
        span_id=line.span_id,
    )


def _shares(parts: Mapping[str, int]) -> list[pb.Share]:
    return [pb.Share(label=label, duration_ns=time) for label, time in parts.items()]


def _texts(attributes: Attributes) -> dict[str, str]:
    """What is no text is written as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in attributes.items()}


def _timestamp(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)
