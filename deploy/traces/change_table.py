"""What `neurectomy blame --against` prints: the change of a percentile, by whom it is owed."""

import json
from typing import Any

from rich.console import Group, RenderableType

from deploy.traces.baselines import Baseline, Comparison
from deploy.traces.figures import as_dict, change, figure, figures, framed, ms, numbers, plain

CHANCE = "≈"


def change_table(comparison: Comparison) -> RenderableType:
    """Label by label, before and after, the largest change first; the parts sum to the percentile's change exactly."""
    before, after = comparison.before.answer.latency_ns, comparison.after.answer.latency_ns
    notes = [plain(note, "yellow") for note in comparison.notes]
    if not comparison.changes:
        return Group(plain(_title(comparison)), *notes)
    table = figures()
    table.add_column("owed to", no_wrap=True)
    numbers(table, "before ms", "after ms", "change ms", "")
    for each in comparison.changes:
        times = figure(each.before), figure(each.after), change(each.by)
        unsure, style = (CHANCE, "dim") if each.within_chance else ("", "")
        table.add_row(plain(each.label), *times, unsure, style=style)
    table.add_section()
    table.add_row("sum", figure(before), figure(after), change(after - before), style="bold")
    return Group(*notes, framed(_title(comparison), table, _caption(comparison)))


def as_json(comparison: Comparison) -> str:
    """Changes in nanoseconds, which sum to `change_ns`, and both answers in the proto's JSON form."""
    before, after = comparison.before, comparison.after
    changes = [
        {
            "label": each.label,
            "before_ns": each.before,
            "after_ns": each.after,
            "change_ns": each.by,
            "within_chance": each.within_chance,
        }
        for each in comparison.changes
    ]
    whole = {
        "percentile": after.percentile,
        "change_ns": after.answer.latency_ns - before.answer.latency_ns,
        "changes": changes,
        "notes": list(comparison.notes),
        "before": _side(before),
        "after": _side(after),
    }
    return json.dumps(whole, indent=2)


def _side(side: Baseline) -> dict[str, Any]:
    moment = side.time.isoformat(timespec="seconds")
    return {"time": moment, "window_seconds": side.window_seconds, "answer": as_dict(side.answer)}


def _title(comparison: Comparison) -> str:
    before, after = comparison.before.answer.latency_ns, comparison.after.answer.latency_ns
    operation = comparison.after.operation or "all operations"
    percent = f" ({(after - before) / before:+.1%})" if before else ""
    return f"{operation}: P{comparison.after.percentile:g} {ms(before)} -> {ms(after)}{percent}"


def _caption(comparison: Comparison) -> str:
    before, after = comparison.before, comparison.after
    lines = [
        f"{before.answer.request_count:,} requests in the {before.window_seconds:,} s before "
        f"{before.time:%Y-%m-%d %H:%M:%S} UTC, {after.answer.request_count:,} in the last {after.window_seconds:,} s.",
        f"percentiles within {max(before.answer.error_percent, after.answer.error_percent):.2g} %.",
    ]
    if any(each.within_chance for each in comparison.changes):
        lines.append(f"{CHANCE} the 95 % intervals of before and after overlap: this may be chance.")
    return "\n".join(lines)
