"""What `neurectomy trace` prints: the waterfall of one request, what failed in it, and what was logged for it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from deploy.traces.figures import Strip, figure, figures, framed, ms, numbers, plain
from neurectomy.traces.v1 import traces_pb2 as pb

WIDTH, LEAST = 32, 12
NAME, HANGING = 16, 8
"""The least room for a span's name, and how far what is folded of it is indented at most."""
ON_PATH, OFF_PATH = "█", "░"
STYLES = {"WARN": "yellow", "ERROR": "red", "FATAL": "bold red"}

Stretch = tuple[int, int]
"""Begin and end, in nanoseconds after the trace's begin."""


def trace_table(answer: pb.GetTraceResponse) -> RenderableType:
    """Each span's bar is full where the critical path runs through the span itself, and pale elsewhere."""
    parts: list[RenderableType] = [_waterfall(answer)]
    parts += [plain(line, "red") for line in _failures(answer.spans)]
    if answer.logs:
        parts.append(_logs(answer))
    return Group(*parts)


def _waterfall(answer: pb.GetTraceResponse) -> RenderableType:
    table = figures()
    table.add_column("span", overflow="fold", min_width=NAME)
    table.add_column("service", no_wrap=True)
    numbers(table, "start ms", "took ms", "critical")
    table.add_column("")
    paths = _by_span(answer.sections)
    for span, depth in _depths(answer.spans):
        times = figure(span.start_ns), figure(span.end_ns - span.start_ns)
        critical = figure(span.critical_ns) if span.critical_ns else ""
        bar = Stretches(span, paths.get(span.span_id, ()), answer.summary.duration_ns)
        table.add_row(_name(span, depth), plain(span.service), *times, critical, bar)
    return framed(_title(answer), table, _shares(answer))


def _name(span: pb.Span, depth: int) -> RenderableType:
    hanging = min(2 * depth, HANGING)
    indent = " " * (2 * depth - hanging)
    return Padding(plain(f"{indent}{span.name.rpartition('/')[2]}{' ✗' if span.failed else ''}"), (0, 0, 0, hanging))


def _depths(spans: Iterable[pb.Span]) -> Iterator[tuple[pb.Span, int]]:
    depths: dict[str, int] = {}
    for span in spans:
        depths[span.span_id] = depth = depths.get(span.parent_id, -1) + 1
        yield span, depth


def _by_span(sections: Iterable[pb.Section]) -> Mapping[str, Sequence[Stretch]]:
    found: dict[str, list[Stretch]] = {}
    for section in sections:
        found.setdefault(section.span_id, []).append((section.start_ns, section.end_ns))
    return found


class Stretches(Strip):
    """A span on the trace's scale, and the stretches in which it is at work on the critical path."""

    def __init__(self, span: pb.Span, path: Sequence[Stretch], whole: int) -> None:
        super().__init__(WIDTH, LEAST, "red" if span.failed else "")
        self._span = span.start_ns, span.end_ns
        self._path = path
        self._whole = max(whole, 1)

    def draw(self, width: int) -> str:
        cells = [" "] * width
        for at in self._cells(self._span, width):
            cells[at] = OFF_PATH
        for stretch in self._path:
            for at in self._cells(stretch, width):
                cells[at] = ON_PATH
        return "".join(cells)

    def _cells(self, stretch: Stretch, width: int) -> range:
        """Those of which it takes half or more; or else the one in its middle, for nothing is too short to be seen."""
        start, end = (max(0, min(at, self._whole)) * width / self._whole for at in stretch)
        first, last = round(start), round(end)
        if first < last:
            return range(first, last)
        middle = min(int((start + end) / 2), width - 1)
        return range(middle, middle + 1)


def _title(answer: pb.GetTraceResponse) -> str:
    summary = answer.summary
    flags = (" failed" if summary.failed else "") + (" incomplete" if answer.incomplete else "")
    began = f"{summary.start_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
    return f"{summary.operation}: {ms(summary.duration_ns)}, {began}, trace {summary.trace_id}{flags and ','}{flags}"


def _shares(answer: pb.GetTraceResponse) -> str:
    parts = sorted(answer.shares, key=lambda share: (-share.duration_ns, share.label))
    return " · ".join(f"{share.label} {ms(share.duration_ns)}" for share in parts)


def _failures(spans: Iterable[pb.Span]) -> Iterator[str]:
    for span in spans:
        if span.failed and span.status_message:
            yield f"✗ {span.name.rpartition('/')[2]} ({span.service}): {span.status_message}"


def _logs(answer: pb.GetTraceResponse) -> RenderableType:
    table = figures()
    numbers(table, "at ms")
    table.add_column("service", no_wrap=True)
    table.add_column("level", no_wrap=True)
    table.add_column("line", overflow="fold")
    origin = answer.summary.start_time.ToNanoseconds()
    for line in answer.logs:
        told = plain(line.service), plain(line.severity), _line(line)
        table.add_row(_offset(line.time, origin), *told, style=STYLES.get(line.severity, ""))
    return framed("\nLogged", table)


def _offset(time: Timestamp, origin: int) -> str:
    return figure(time.ToNanoseconds() - origin)


def _line(line: pb.LogLine) -> Text:
    attributes = "".join(f" {key}={value}" for key, value in sorted(line.attributes.items()))
    return plain(line.text + attributes)
