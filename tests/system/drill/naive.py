"""Two ways to blame that look right and are not: both take the time of each service by itself, from its own spans."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from neurectomy.traces.v1 import traces_pb2 as pb

STORES = {"postgres", "neo4j", "redis"}
OWN = {"server", "internal"}


def own_times(trace: pb.GetTraceResponse) -> dict[str, int]:
    """Nanoseconds by label, whatever ran at the same time: each span's without those that it is the parent of."""
    inside: dict[str, int] = defaultdict(int)
    for span in trace.spans:
        inside[span.parent_id] += span.end_ns - span.start_ns
    times: dict[str, int] = defaultdict(int)
    for span in trace.spans:
        times[_label(span)] += max(0, span.end_ns - span.start_ns - inside[span.span_id])
    return times


def _label(span: pb.Span) -> str:
    if span.kind in STORES:
        return f"{span.service}/{span.kind}"
    return span.service if span.kind in OWN else span.kind


def means(traces: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Each label's mean: who takes most of the time?"""
    labels = {label for each in traces for label in each}
    return {label: sum(each.get(label, 0) for each in traces) / len(traces) for label in labels}


def tails(traces: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """How far each label's own P99 is from its mean: who is slow now and then?"""
    nearly = int(0.99 * (len(traces) - 1))
    return {
        label: sorted(each.get(label, 0) for each in traces)[nearly] - mean for label, mean in means(traces).items()
    }
