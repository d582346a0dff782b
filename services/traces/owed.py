"""Whom a request's time was owed to, straight from what was recorded: the sums of its critical path without the path.

A gateway does this for every request. Nearly all are ordinary: in each process no span is another's parent, they were
recorded in the order of their ends, and each call took less time than its client span. Then nothing is clipped, where
a callee lies in its client span means nothing for the sums, and one look at each span is enough, from the last to the
first. All else is left to `critical_path`; the tests hold the two together.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from services.runtime.span_wire import MAX_NESTING, Blob, Kind, Recorded, lags, peer_of, read
from services.traces.critical_path import BESIDE, UNDER_CALLER, joined

_CLIENT = int(Kind.CLIENT)


class Unusual(Exception):
    """What only `critical_path` can judge."""


class Owed:
    """Nanoseconds on the critical path by label, which sum to the latency, and how many spans of each label it has."""

    __slots__ = ("calls", "dropped", "shares")

    def __init__(self, service: str, spans: Sequence[Recorded], latency: int) -> None:
        """Of a request that `service` answered after `latency` nanoseconds. Raises Unusual."""
        self.shares: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self.dropped = 0
        """How many spans did not fit into what rode home."""
        self._add_process(service, spans, latency, 0)

    def _add_process(self, service: str, spans: Sequence[Recorded], length: int, nesting: int) -> None:
        """What a process did in a call of that length; `until` is what is accounted for down to, in microseconds."""
        shares, calls, labels = self.shares, self.calls, _labels(service)
        until = length // 1_000
        own, last = length - until * 1_000, until + 1
        for _, parent, kind, name, start, duration, _, child, _, lag in reversed(spans):
            end = start + duration
            if parent or end >= last or not duration or kind in BESIDE:
                if parent or (duration and kind not in BESIDE) or child is not None:
                    raise Unusual
                continue
            last = end
            blob = read(child) if child is not None and kind == _CLIENT and nesting < MAX_NESTING else None
            if end > until:
                self.dropped += _dropped(blob, nesting + 1)
                continue
            own += (until - end) * 1_000
            until = start
            if blob is not None:
                self._add_call(service, blob, duration, lag, nesting + 1)
                continue
            label = labels.get(kind) or (_remote(name) if kind == _CLIENT else service)
            shares[label] = shares.get(label, 0) + duration * 1_000
            calls[label] = calls.get(label, 0) + 1
        own += until * 1_000
        if own:
            shares[service] = shares.get(service, 0) + own
            calls[service] = calls.get(service, 0) + 1

    def _add_call(self, caller: str, blob: Blob, duration: int, lag: int, nesting: int) -> None:
        """What a client span waited, and what its callee did meanwhile."""
        slack = duration - blob.duration
        if slack < 0 or not blob.duration or not blob.service:
            raise Unusual
        self.dropped += blob.dropped
        if slack:
            self._add_wait(caller, blob, duration * 1_000, slack * 1_000, lag * 1_000)
        self._add_process(blob.service, blob.spans, blob.duration * 1_000, nesting)

    def _add_wait(self, caller: str, blob: Blob, duration: int, slack: int, lag: int) -> None:
        """What a client span waited for each event loop and otherwise; it is counted for the label it begins with."""
        shares, first = self.shares, joined(blob.service, "wait")
        before, after = lags(blob, duration, lag) if lag or blob.lag else (0, 0)
        if waited := slack - before - after:
            shares[first] = shares.get(first, 0) + waited
        else:
            first = joined(blob.service if before else caller, "loop")
        for service, part in ((blob.service, before), (caller, after)):
            if part:
                label = joined(service, "loop")
                shares[label] = shares.get(label, 0) + part
        self.calls[first] = self.calls.get(first, 0) + 1


@lru_cache(1_024)
def _labels(service: str) -> Mapping[int, str]:
    """Of the kinds that have labels of their own."""
    return {kind: joined(service, part) for kind, part in UNDER_CALLER.items()}


def _remote(method: str) -> str:
    peer = peer_of(method)
    return joined(peer, "remote") if peer else "remote"


def _dropped(blob: Blob | None, nesting: int) -> int:
    """How many spans had no room in a call that another hid, and in all calls below it."""
    if blob is None:
        return 0
    calls = (span for span in blob.spans if span.kind == _CLIENT and span.child is not None and nesting < MAX_NESTING)
    return blob.dropped + sum(_dropped(read(call.child or b""), nesting + 1) for call in calls)
