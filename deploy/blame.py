"""`neurectomy blame` and `neurectomy trace`: what the traces service knows, as tables for a terminal or as JSON."""

import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from rich.box import SIMPLE
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from deploy.local.addresses import Addresses
from deploy.local.failure import StackError
from deploy.local.state import State
from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.runtime import channels

if TYPE_CHECKING:
    from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceAsyncStub

MILLISECOND = 1_000_000
NEEDED = 30
BAR_WIDTH = 24
SHARE_WIDTH = 6


@asynccontextmanager
async def traces(auth_target: str, traces_target: str, secret: str) -> AsyncIterator["TracesServiceAsyncStub"]:
    """The traces service, as the operator at the command line. Its errors come out as StackError."""
    async with channels.connect(auth_target, channels.no_token) as auth:
        identity = channels.ServiceIdentity(auth, "cli", secret)
        async with channels.connect(traces_target, identity.token) as channel:
            try:
                yield TracesServiceStub(channel)
            except grpc.aio.AioRpcError as error:
                raise StackError(f"The traces service answers {error.code().name}: {error.details()}") from error


@asynccontextmanager
async def of_running(state: Path) -> AsyncIterator["TracesServiceAsyncStub"]:
    """The traces service of the stack that uses the folder. Raises StackError when none does."""
    addresses = Addresses.of_running(State(state))
    targets, secret = addresses.targets, addresses.secrets.services["cli"]
    async with traces(targets["auth"], targets["traces"], secret) as stub:
        yield stub


async def find(stub: "TracesServiceAsyncStub", words: str, window_seconds: int) -> str:
    """The one operation that is meant by a part of its name, or the most frequent of those. Raises StackError."""
    seen = [one.operation for one in await operations(stub, window_seconds)]
    if not seen:
        raise StackError(f"No request came in the last {window_seconds} s, so there is nothing to blame anyone for.")
    found = [name for name in seen if words in name]
    if not found:
        raise StackError(f"No operation has {words!r} in its name. There are:\n  " + "\n  ".join(seen))
    return words if words in found else found[0]


async def operations(stub: "TracesServiceAsyncStub", window_seconds: int) -> list[pb.Operation]:
    """The operations seen in the window, the most frequent first."""
    request = pb.ListOperationsRequest(window=Duration(seconds=window_seconds))
    return list((await stub.ListOperations(request)).operations)


async def judge(
    stub: "TracesServiceAsyncStub", operation: str, percentile: float, window_seconds: int
) -> pb.BlameResponse:
    """The split of a percentile of one operation's latency."""
    window = Duration(seconds=window_seconds)
    return await stub.Blame(pb.BlameRequest(operation=operation, percentile=percentile, window=window))


async def opened(stub: "TracesServiceAsyncStub", trace_id: str) -> pb.GetTraceResponse:
    """One kept trace."""
    return await stub.GetTrace(pb.GetTraceRequest(trace_id=trace_id))


def seconds_of(duration: str) -> int:
    """The seconds of `90s`, `5m`, `2h` or a bare number of seconds. Raises StackError."""
    match = re.fullmatch(r"(\d+)([smh]?)", duration)
    if match is None or int(match[1]) == 0:
        raise StackError(f"{duration!r} is no length of time. Write it as 90s, 5m or 2h.")
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3_600}[match[2]]


def as_json(answer: pb.BlameResponse | pb.GetTraceResponse) -> str:
    """The answer with its proto names; 64-bit integers are strings, as in the proto's own JSON form."""
    fields = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return json.dumps(fields, indent=2)


def blame_table(answer: pb.BlameResponse, percentile: float) -> RenderableType:
    """Who owes the percentile, largest excess over the median first; the parts sum to it exactly."""
    name = f"P{percentile:g}"
    table = _figures(_title(answer, name), _caption(answer))
    table.add_column("owed to", no_wrap=True)
    for heading in (f"{name} ms", "95 %", "over P50", "tail ms", "calls"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for part in answer.parts:
        table.add_row(*_row(part, answer.latency_ns))
    table.add_section()
    excess = answer.latency_ns - answer.median_ns
    table.add_row("sum", _figure(answer.latency_ns), "", f"+{_figure(excess)}", _figure(answer.tail_ns), style="bold")
    return table if answer.parts else Text(f"{_title(answer, name)}\n{_too_few(answer)}")


def _row(part: pb.BlamedPart, whole: int) -> Iterable[str]:
    yield part.label
    yield _figure(part.duration_ns)
    yield f"{part.low_ns / MILLISECOND:.1f}-{part.high_ns / MILLISECOND:.1f}"
    yield f"{part.excess_ns / MILLISECOND:+.2f}"
    yield _figure(part.tail_ns)
    yield f"{part.calls:.1f}"
    yield "█" * round(SHARE_WIDTH * part.duration_ns / max(whole, 1))


def operations_table(seen: Iterable[pb.Operation]) -> RenderableType:
    """What can be blamed."""
    table = _figures("Operations", "")
    table.add_column("operation")
    for heading in ("requests", "P50", "P95", "P99"):
        table.add_column(heading, justify="right")
    for one in seen:
        table.add_row(one.operation, f"{one.request_count:,}", _ms(one.p50_ns), _ms(one.p95_ns), _ms(one.p99_ns))
    return table


def _title(answer: pb.BlameResponse, name: str) -> str:
    operation = answer.operation or "all operations"
    return f"{operation}: {name} {_ms(answer.latency_ns)}, median {_ms(answer.median_ns)}"


def _too_few(answer: pb.BlameResponse) -> str:
    return (
        f"Too few to name anyone: {answer.tail_count} of {NEEDED} requests beyond the percentile "
        f"({answer.request_count:,} in all). Ask for a lower percentile or a longer window."
    )


def _caption(answer: pb.BlameResponse) -> str:
    lines = [
        f"{answer.request_count:,} requests, {answer.tail_count:,} beyond the percentile; percentiles within 3 %.",
        f"slowest trace {answer.slowest_trace_id}",
        f"typical trace {answer.typical_trace_id}",
    ]
    flags = {
        "incomplete": answer.incomplete_count,
        "ambiguous": answer.ambiguous_count,
        "spans dropped": answer.dropped_count,
    }
    if any(flags.values()):
        lines.append(", ".join(f"{name}: {count}" for name, count in flags.items() if count))
    return "\n".join(lines)


def _figures(title: str, caption: str) -> Table:
    return Table(title=title, title_justify="left", caption=caption, caption_justify="left", box=SIMPLE, pad_edge=False)


def _figure(nanoseconds: int) -> str:
    return f"{nanoseconds / MILLISECOND:.2f}"


def _ms(nanoseconds: int) -> str:
    return f"{_figure(nanoseconds)} ms"


def trace_table(answer: pb.GetTraceResponse) -> RenderableType:
    """The waterfall of one trace; what is on the critical path is drawn full."""
    summary = answer.summary
    title = f"{summary.operation}: {_ms(summary.duration_ns)}, trace {summary.trace_id}"
    table = _figures(title, _shares(answer))
    table.add_column("span", overflow="fold")
    table.add_column("service", no_wrap=True)
    for heading in ("start ms", "took ms", "critical"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    depths: dict[str, int] = {}
    for span in answer.spans:
        depths[span.span_id] = depth = depths.get(span.parent_id, -1) + 1
        name = f"{'  ' * depth}{span.name.rpartition('/')[2]}{' ✗' if span.failed else ''}"
        figures = _figure(span.start_ns), _figure(span.end_ns - span.start_ns)
        critical = _figure(span.critical_ns) if span.critical_ns else ""
        table.add_row(name, span.service, *figures, critical, _bar(span, summary.duration_ns))
    return table


def _bar(span: pb.Span, whole: int) -> str:
    scale = BAR_WIDTH / max(whole, 1)
    before = min(BAR_WIDTH - 1, int(span.start_ns * scale))
    length = max(1, round((span.end_ns - span.start_ns) * scale))
    return " " * before + ("█" if span.critical_ns else "░") * min(length, BAR_WIDTH - before)


def _shares(answer: pb.GetTraceResponse) -> str:
    parts = sorted(answer.shares, key=lambda share: (-share.duration_ns, share.label))
    return " · ".join(f"{share.label} {_ms(share.duration_ns)}" for share in parts)
