"""Where one request's time went: the critical path of its trace, cut into labelled sections.

Times are integer nanoseconds. The numbered rules are those of "One trace" in the tracing design:
1 parents by id · 2 no clock is trusted across processes · 3 a child counts only inside its parent ·
4 walk back from the end, always to the child that ended last · 5 hand-overs do not block · 6 sections tile the root.

A gateway does this for every request, so the functions between `_tree` and `_label` are written for speed.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import msgspec

from services.runtime.span_wire import Kind as Kind
from services.runtime.span_wire import Span as Span

SpanId: TypeAlias = int | str


Section: TypeAlias = tuple[Span, int, int, str]  # the span at work, from, until, and the label that owes this time


class Path(NamedTuple):
    """A critical path: sections, latest first, that tile the root span from its end to its start without a gap.

    `incomplete`: a parent was missing, there were several roots, or parents formed a ring.
    `ambiguous`: siblings ended at the same instant, so that the tie-break chose between them.
    """

    sections: list[Section]
    incomplete: bool
    ambiguous: bool


def critical_path(spans: Sequence[Span]) -> Path:
    """The spans, and the parts of them, that the root's end had to wait for. Raises ValueError without a span."""
    root, children, incomplete = _tree(spans)
    sections, ambiguous = _walk(root, children)
    return Path(sections, incomplete, ambiguous)


def place(spans: Sequence[Span]) -> list[Span]:
    """Rule 2 alone, for drawing: every callee inside the span that called it; parents come before children.

    `critical_path` does this by itself, and placing twice changes nothing.
    """
    root, children, _ = _tree(spans)
    placed = [(root, root.start, root.end, 0)]
    for parent, low, high, shift in placed:
        placed += [(span, *_placed(span, parent, shift, low, high)) for span in children[parent.span_id]]
    return [_moved(span, start, end) for span, start, end, _ in placed]


def shares(path: Path) -> dict[str, int]:
    """Nanoseconds of the path by label; they sum to the root's duration exactly."""
    totals: dict[str, int] = {}
    for _, start, end, label in path.sections:
        totals[label] = totals.get(label, 0) + end - start
    return totals


def by_service(path: Path) -> dict[str, int]:
    """Nanoseconds of the path by the service whose span was at work; the same sum."""
    totals: dict[str, int] = {}
    for span, start, end, _ in path.sections:
        totals[span.service] = totals.get(span.service, 0) + end - start
    return totals


def calls(path: Path) -> dict[str, int]:
    """How many spans of each label the path runs through: twenty fast statements are not one slow one."""
    counts: dict[str, int] = {}
    for label in {span.span_id: label for span, _, _, label in path.sections}.values():
        counts[label] = counts.get(label, 0) + 1
    return counts


def labels(spans: Sequence[Span]) -> dict[SpanId, str]:
    """Whom each span's own time is owed by, on the path or not."""
    _, children, _ = _tree(spans)
    return {span.span_id: _label(span, children) for span in spans}


_Children: TypeAlias = dict[SpanId, list[Span]]
_SERVER, _CLIENT = int(Kind.SERVER), int(Kind.CLIENT)
BESIDE = {int(Kind.FOLLOWS), int(Kind.FIELD)}
"""These hold nothing up: a hand-over, and a field that waits for a call which stands beside it."""
UNDER_CALLER = {
    int(Kind.POSTGRES): "postgres",
    int(Kind.NEO4J): "neo4j",
    int(Kind.REDIS): "redis",
    int(Kind.POOL_WAIT): "pool wait",
    int(Kind.EMBEDDING): "embedding",
}


# A span that is walked: its label, the blockers that are left, its start, until where, the last end, and whose loop lag
# what comes next was waited for.
_Frame: TypeAlias = tuple[Span, str, "Iterator[_Blocker]", int, int, int, "Span | None"]


def _walk(root: Span, children: _Children) -> tuple[list[Section], bool]:
    """Rules 4 and 6, latest section first, and whether a tie had to be broken on the way.

    `until` is the time that is accounted for down to; a frame waits on the stack while a child of it is walked.
    """
    sections: list[Section] = []
    ambiguous = False
    blockers = iter(_blockers(root, children, 0, root.start, root.end, root.start, root.end))
    frames: list[_Frame] = [(root, _label(root, children), blockers, root.start, root.end, root.end + 1, None)]
    while frames:
        span, label, blockers, start, until, last_end, waited = frames.pop()
        for minus_end, child_start, child_id, child, shift, low, high in blockers:
            child_end = -minus_end
            if child_end > until:
                ambiguous |= child_end == last_end
                continue
            if child_end < until:
                if waited is not None:
                    until = _loop_section(sections, span, child_end, until, waited)
                if child_end < until:
                    sections.append((span, child_end, until, label))
            until, last_end = child_start, child_end
            waited = child if child.kind == _SERVER and child.lag else None
            child_label = _label(child, children)
            if children[child_id]:
                frames.append((span, label, blockers, start, until, last_end, waited))
                inner = iter(_blockers(child, children, shift, low, high, child_start, child_end))
                waited = child if child.kind == _CLIENT and child.lag else None
                frames.append((child, child_label, inner, child_start, child_end, child_end + 1, waited))
                break
            sections.append((child, child_start, child_end, child_label))
        else:
            if start < until and waited is not None:
                until = _loop_section(sections, span, start, until, waited)
            if start < until:
                sections.append((span, start, until, label))
    return sections, ambiguous


def _loop_section(sections: list[Section], span: Span, start: int, until: int, waited: Span) -> int:
    """Cut off the end of a client span's own time that was waited for an event loop; return where that begins.

    The answer waited for the caller's loop, given by the client span itself, the call for that of the server span.
    """
    begin = max(start, until - waited.lag)
    sections.append((span, begin, until, joined(waited.service, "loop")))
    return begin


# Sorts as rule 4 chooses: minus the end, the start and the id; then the span, its shift, and its placed start and end.
_Blocker: TypeAlias = tuple[int, int, SpanId, Span, int, int, int]


def _blockers(
    parent: Span, children: _Children, shift: int, low: int, high: int, start: int, until: int
) -> list[_Blocker]:
    """The children of a span placed at low..high that may hold it up, clipped to start..until (rules 2, 3 and 5)."""
    found: list[_Blocker] = []
    for span in children[parent.span_id]:
        kind = span.kind
        if kind == _SERVER:
            first, last, moved = _placed(span, parent, shift, low, high)
        elif kind in BESIDE:
            continue
        else:
            first, last, moved = span.start + shift, span.end + shift, shift
        inside_from, inside_until = (first if first > start else start), (last if last < until else until)
        if inside_from < inside_until:
            found.append((-inside_until, inside_from, span.span_id, span, moved, first, last))
    if len(found) > 1:
        found.sort()
    return found


def _placed(span: Span, parent: Span, shift: int, low: int, high: int) -> tuple[int, int, int]:
    """Rule 2: start, end and shift of a span whose parent's process is shifted by `shift` and itself lies at low..high.

    Where the process changes, the span is shifted to fit, or centred and clipped, and all below it moves along.
    """
    start, end = span.start + shift, span.end + shift
    if span.kind != _SERVER or (parent.kind != _CLIENT and parent.service == span.service):
        return start, end, shift
    slack = (high - low) - (end - start)
    if slack < 0:
        return low, high, shift + low + slack // 2 - start
    fit = max(low - start, min(0, high - end))
    return start + fit, end + fit, shift + fit


def _label(span: Span, children: _Children) -> str:
    """Who owes a span's own time: its service, a store under it, or the service that it waited for."""
    kind = span.kind
    if kind in UNDER_CALLER:
        return joined(span.service, UNDER_CALLER[kind])
    if kind != _CLIENT:
        return span.service
    callee = ""
    for child in children[span.span_id]:
        if child.kind == _SERVER and (not callee or child.service < callee):
            callee = child.service
    if callee:
        return joined(callee, "wait")
    return joined(span.peer, "remote") if span.peer else "remote"


@lru_cache(1024)
def joined(service: str, part: str) -> str:
    return f"{service}/{part}"


def _moved(span: Span, start: int, end: int) -> Span:
    if (start, end) == (span.start, span.end):
        return span
    return msgspec.structs.replace(span, start=start, end=end)


def _tree(spans: Sequence[Span]) -> tuple[Span, _Children, bool]:
    """Rule 1: the root, the children of every span, and whether parents were missing."""
    children: _Children = {}
    early: list[Span] = []  # seen before their parents
    for span in spans:
        siblings = children.get(span.parent_id)  # type: ignore[arg-type]  # None is nobody's id
        children[span.span_id] = []
        (early if siblings is None else siblings).append(span)
    if len(children) < len(spans):
        return _tree(_without_doubles(spans))
    if len(early) == 1 and early[0].parent_id is None:
        return early[0], children, False
    return _mended(spans, children, early)


def _mended(spans: Sequence[Span], children: _Children, early: Iterable[Span]) -> tuple[Span, _Children, bool]:
    """The tree where parents come late, are missing, or go round in a ring: strays hang under the root."""
    tops: list[Span] = []
    for span in early:
        children.get(span.parent_id, tops).append(span)  # type: ignore[arg-type]  # None is nobody's id
    root = min(tops or spans, key=_order, default=None)
    if root is None:
        raise ValueError("a trace has at least one span")
    if not tops:
        children[root.parent_id].remove(root)  # type: ignore[index]  # all have parents here
    strays = [span for span in tops if span is not root] + _cut_rings(root, tops, spans, children)
    children[root.span_id] += strays
    return root, children, bool(strays) or root.parent_id is not None


def _cut_rings(root: Span, tops: Sequence[Span], spans: Sequence[Span], children: _Children) -> list[Span]:
    """Cut each ring of parents above its longest span, and return those spans."""
    reached = _below([root, *tops], children)
    if len(reached) == len(spans):
        return []
    cut: list[Span] = []
    known = {span.span_id: span for span in spans}
    for span in spans:
        if span.span_id not in reached:
            cut.append(min(_ring_above(span, known), key=_order))
            children[cut[-1].parent_id].remove(cut[-1])  # type: ignore[index]  # it is in a ring
            reached |= _below(cut[-1:], children)
    return cut


def _below(tops: Iterable[Span], children: _Children) -> set[SpanId]:
    queue = list(tops)
    for span in queue:
        queue += children[span.span_id]
    return {span.span_id for span in queue}


def _ring_above(span: Span, known: dict[SpanId, Span]) -> list[Span]:
    """Whoever goes up from a span that no root is above comes round again; this is the round."""
    above: dict[SpanId, Span] = {}
    while span.span_id not in above:
        above[span.span_id] = span
        span = known[span.parent_id]  # type: ignore[index]  # only a root has none
    return list(above.values())[list(above).index(span.span_id) :]


def _order(span: Span) -> tuple[bool, int, int, SpanId]:
    """Who stands for several, whatever the order of the input: one without a parent, then the longest."""
    return span.parent_id is not None, span.start - span.end, span.start, span.span_id


def _without_doubles(spans: Sequence[Span]) -> list[Span]:
    """One span for each id: a span may be exported twice. Of two that differ the longer stays."""
    by_length = sorted(spans, key=lambda span: (span.end - span.start, -span.start, repr(span)))
    return list({span.span_id: span for span in by_length}.values())
