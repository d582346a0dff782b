"""The tables fit where they are shown, and say what the answer says."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from deploy.traces.baselines import compare
from deploy.traces.blame_table import blame_table
from deploy.traces.change_table import change_table
from deploy.traces.trace_table import Stretches, trace_table
from neurectomy.traces.v1 import traces_pb2 as pb
from tests.deploy.traces.answers import MS, THEN, answer, baseline, drawn

LONGEST = "vector_search__pool wait"
BEGAN = Timestamp(seconds=int(THEN.timestamp()))


@pytest.mark.parametrize("scale", [0.001, 1, 100])
def test_the_blame_table_keeps_to_80_columns_and_cuts_nothing(scale: float) -> None:
    judged = answer("query Q", **{"gateway": 26.12 * scale, LONGEST: 51.77 * scale})
    text = drawn(blame_table(judged, 99.0))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert f"{26.12 * scale:.2f}" in text
    assert "vector_search/pool wait" in text
    for words in ("5,000 requests, 50 beyond", "within 2.9 %", "97.2 %", "spans dropped: 7", "trace " + "5" * 32):
        assert words in text


@pytest.mark.parametrize(
    ("requests", "percentile", "advice"),
    [
        (705, 99.0, "--percentile 95 or a longer --window."),
        (705, 90.0, "--percentile 75 or a longer --window."),
        (100, 99.0, "--percentile 50 or a longer --window."),
        (60, 99.0, "Ask for a longer --window."),
    ],
)
def test_a_tail_that_is_too_small_names_nobody_but_what_to_ask_for(
    requests: int, percentile: float, advice: str
) -> None:
    few = answer()
    few.request_count = requests
    text = drawn(blame_table(few, percentile), 200)
    assert "Too few to name anyone: 3 of 30" in text
    assert advice in text


def test_the_change_table_says_what_may_be_chance() -> None:
    text = drawn(change_table(compare(baseline(answer(gateway=10, auth=9)), baseline(answer(gateway=10.5, auth=40)))))
    [auth] = [line for line in text.splitlines() if line.strip().startswith("auth ")]
    [gateway] = [line for line in text.splitlines() if line.strip().startswith("gateway ")]
    assert auth.split() == ["auth", "9.00", "40.00", "+31.00"]
    assert gateway.split() == ["gateway", "10.00", "10.50", "+0.50", "≈"]
    assert "P99 19.00 ms -> 50.50 ms (+165.8%)" in text
    assert max(map(len, text.splitlines())) <= 80


BARS: list[tuple[tuple[int, int], list[tuple[int, int]], str]] = [
    ((0, 80), [(0, 20), (60, 80)], "██░░░░██"),
    ((20, 60), [], "  ░░░░  "),
    ((20, 60), [(30, 40)], "  ░█░░  "),
    ((20, 60), [(20, 21)], "  █░░░  "),
    ((79, 80), [(79, 80)], "       █"),
    ((80, 80), [], "       ░"),
    ((0, 0), [], "░       "),
    ((-10, 500), [(70, 500)], "░░░░░░░█"),
]


@pytest.mark.parametrize(("span", "path", "expected"), BARS)
def test_a_bar_is_full_where_its_span_is_on_the_path(
    span: tuple[int, int], path: list[tuple[int, int]], expected: str
) -> None:
    assert Stretches(pb.Span(start_ns=span[0], end_ns=span[1]), path, 80).draw(8) == expected


def trace() -> pb.GetTraceResponse:
    """A request whose call failed, after a line was logged."""
    return pb.GetTraceResponse(
        summary=pb.TraceSummary(
            trace_id="a" * 32, operation="query Q", duration_ns=80 * MS, failed=True, start_time=BEGAN
        ),
        spans=[
            pb.Span(span_id="1", service="gateway", name="query Q", end_ns=80 * MS, critical_ns=40 * MS),
            pb.Span(
                span_id="2",
                parent_id="1",
                service="graph",
                name="MATCH [red]paths\x1b[31m",
                start_ns=20 * MS,
                end_ns=60 * MS,
                critical_ns=40 * MS,
                failed=True,
                status_message="[bold]no such index",
            ),
        ],
        sections=[
            pb.Section(span_id="1", start_ns=0, end_ns=20 * MS),
            pb.Section(span_id="2", start_ns=20 * MS, end_ns=60 * MS),
            pb.Section(span_id="1", start_ns=60 * MS, end_ns=80 * MS),
        ],
        shares=[pb.Share(label="gateway", duration_ns=40 * MS), pb.Share(label="graph", duration_ns=40 * MS)],
        logs=[
            pb.LogLine(
                time=Timestamp(seconds=BEGAN.seconds, nanos=12 * MS),
                service="graph",
                severity="ERROR",
                text="[dim]trouble",
                attributes={"attempt": "2"},
            )
        ],
    )


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_trace_is_drawn_with_what_failed_and_what_was_logged(width: int) -> None:
    text = drawn(trace_table(trace()), width)
    assert max(map(len, text.splitlines())) <= width
    lines = text.splitlines()
    [root] = [line for line in lines if line.strip().startswith("query Q ") and "gateway" in line]
    bar = root.split()[-1]
    assert (bar[0], bar[len(bar) // 2], bar[-1]) == ("█", "░", "█")
    assert "✗ MATCH [red]paths�[31m (graph): [bold]no such index" in text
    assert "12.00 graph" in " ".join(text.split())
    assert "80.00 ms, 2026-11-24 16:00:00 UTC, trace" in " ".join(text.split())
    assert "[dim]trouble attempt=2" in text
    assert "\x1b" not in text


def test_what_is_folded_of_a_name_stays_under_its_begin() -> None:
    answer = trace()
    answer.spans[1].name = "acquire connection"
    lines = drawn(trace_table(answer), 60).splitlines()
    [at] = [at for at, line in enumerate(lines) if line.startswith("   acquire  ")]
    assert lines[at + 1].startswith("   connection")
