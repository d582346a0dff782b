"""Kept spans as real OpenTelemetry: read-only spans with the recorded times, sent by the stock OTLP exporters."""

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from services.runtime.otlp import close, made, span_processors
from services.runtime.readable import SAMPLED, own_resource, readable, resource_of
from services.runtime.settings import Settings
from services.runtime.span_wire import Span, unpack
from services.runtime.trace_context import TraceContext

INSTANCE = random.SystemRandom().getrandbits(31) | 1
"""This process: the upper half of the ids of all its spans, so that whoever exports them knows where they come from."""
NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)


class SpanExport:
    """Where this process's kept spans go: nowhere, or to one or more back ends, each from its own thread."""

    def __init__(
        self, service: str, processors: Iterable[BatchSpanProcessor] = (), sampler: Sampler | None = None
    ) -> None:
        self._service = service
        self._processors = tuple(processors)
        self._sampler = sampler
        self._own = own_resource(service, INSTANCE)
        self._limits = SpanLimits()

    def sampled(self, trace: TraceContext, method: str) -> bool:
        """Whether spans are recorded for a caller that does not ask: by its own flag, unless a sampler is set."""
        if self._sampler is None:
            return trace.sampled
        context, trace_id = None, int(trace.trace_id, 16)
        if trace.parent_id is not None:
            flags = SAMPLED if trace.sampled else NOT_SAMPLED
            parent = SpanContext(trace_id, trace.parent_id, is_remote=True, trace_flags=flags)
            context = set_span_in_context(NonRecordingSpan(parent))
        return self._sampler.should_sample(context, trace_id, method).decision is Decision.RECORD_AND_SAMPLE

    def blob(self, trace: TraceContext, blob: bytes) -> None:
        """Export a call that has just ended, from the blob that could not ride home."""
        spans = unpack(blob, trace.parent_id or 0, 0, 0) if self._processors else []
        if spans:
            self.spans(trace.trace_id, spans, time.time_ns() - max(span.end for span in spans), trace.state)

    def spans(self, trace_id: str, spans: Iterable[Span], epoch: int, state: str = "") -> None:
        """Export spans; `epoch` is what must be added to their times to make them nanoseconds since 1970."""
        if not self._processors:
            return
        carried = TraceState.from_header([state]) if state else TraceState()
        for span in spans:
            ended = readable(int(trace_id, 16), span, epoch, carried, self._resource(span), self._limits)
            for processor in self._processors:
                processor.on_end(ended)

    def _resource(self, span: Span) -> Resource:
        instance = int(span.span_id) >> 32
        own = instance == INSTANCE and span.service == self._service
        return self._own if own else resource_of(span.service, instance)


@contextmanager
def exporting(service: str, settings: Settings) -> Iterator[SpanExport]:
    """An export to wherever the settings say; flushed and closed at the end, within 3 s."""
    processors = made(span_processors, settings)
    try:
        yield made(lambda chosen: SpanExport(service, processors, _sampler(chosen)), settings)
    finally:
        close(processors)


def _sampler(settings: Settings) -> Sampler | None:
    ratio = settings.otel_traces_sampler_arg
    match settings.otel_traces_sampler:
        case "always_on":
            return ALWAYS_ON
        case "always_off":
            return ALWAYS_OFF
        case "traceidratio":
            return TraceIdRatioBased(ratio)
        case "parentbased_always_on":
            return DEFAULT_ON
        case "parentbased_traceidratio":
            return ParentBasedTraceIdRatio(ratio)
    return None
