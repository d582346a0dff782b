"""What surrounds every GraphQL operation, whatever it came by: its trace, its time, and its caller's token."""

from dataclasses import dataclass, field
from typing import Any

from gateway.changes import Changes
from gateway.clients import Clients
from gateway.context import Context
from gateway.execution import Answer, Engine, Prepared
from gateway.fields import Fields
from gateway.remote import Services
from gateway.spans import Ended, Spans, measure
from services.runtime import telemetry
from services.runtime.caller import Principal, act_as
from services.runtime.deadlines import set_budget
from services.runtime.telemetry import Recording
from services.runtime.trace_context import TraceContext, extract, traceparent

REFUSED = "refused"
"""The label of requests that are no operation: what was sent could not be read, or is not valid."""
FAULTS = {"INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE", "DEADLINE_EXCEEDED"}
"""Codes of errors that are not the client's."""


class Running:
    """One operation in progress."""

    __slots__ = ("_recording", "_spans", "failed", "fields", "label", "latency", "trace")

    def __init__(self, trace: TraceContext, recording: Recording | None, spans: Spans) -> None:
        self.trace = trace
        self.label = REFUSED
        """Of the operation, once it is known."""
        self.failed = False
        self.latency = 0
        self.fields = Fields(recording) if recording is not None else None
        self._recording = recording
        self._spans = spans

    def stop(self) -> None:
        """Its answer is ready: time stands still."""
        if self._recording is not None:
            self.latency = self._recording.elapsed()

    def _ended(self) -> Ended | None:
        """If it was recorded."""
        if self._recording is None:
            return None
        return Ended(self._recording, self.label, self.latency, self.failed, self.fields)

    def end(self) -> None:
        """Judge the trace. After the answer has been sent, which is not to wait for it."""
        if ended := self._ended():
            self._spans.end(ended)

    def server_timing(self) -> str:
        """Where the time went, in milliseconds, as the header of that name."""
        ended = self._ended()
        shares = measure(ended).shares if ended else {}
        parts = [f"{label.replace('/', '-').replace(' ', '-')};dur={time / 1e6:.3f}" for label, time in shares.items()]
        return ", ".join([f"total;dur={self.latency / 1e6:.3f}", *parts])

    @property
    def traceresponse(self) -> str:
        """The header that tells the client its trace, by the W3C's draft for responses."""
        span_id = self._recording.base if self._recording else self.trace.parent_id or 1
        return traceparent(self.trace, span_id)


@dataclass(frozen=True, slots=True)
class Operations:
    """Begins operations and runs them."""

    engine: Engine
    services: Services
    changes: Changes
    spans: Spans
    recorded: bool
    seconds: float
    baggage: bool = True
    """Whether callers' baggage reaches the services."""
    clients: Clients = field(default_factory=Clients)
    """Knows whom a mutation comes from; queries change nothing that it would be written down for."""

    def begin(self, traceparent: str | None = None, tracestate: str = "", baggage: str = "") -> Running:
        """From now on, this task works for one operation."""
        trace = extract(traceparent, tracestate, baggage if self.baggage else "")
        running = Running(trace, telemetry.begin("graphql", trace, self.recorded), self.spans)
        set_budget(self.seconds)
        return running

    async def run(
        self,
        running: Running,
        prepared: Prepared,
        token: str | None,
        principal: Principal | None = None,
        event: Any = None,
    ) -> Answer:
        """Execute a prepared request for a caller. Raises Refused."""
        act_as(principal, token)
        running.label = prepared.operation.label
        answer = await self.engine.execute(prepared, self.context(principal, running.fields), event)
        running.failed = not FAULTS.isdisjoint(answer.codes)
        return answer

    def context(self, principal: Principal | None, fields: Fields | None = None) -> Context:
        """What the resolvers of one run share."""
        return Context(self.services, self.changes, principal, fields)
