"""Each call's trace at a server: recorded for a caller that asks, and exported by ourselves where that is due.

A caller that wants a call's spans sends `x-spans: 1` beside the standard `traceparent`. One that does not, gets
ordinary OpenTelemetry: its sampled flag decides, and this process exports its own spans.
"""

from types import TracebackType

from services.runtime.export import SpanExport
from services.runtime.loop_lag import loop_lag
from services.runtime.scopes import Call
from services.runtime.span_wire import ASK_KEY, BLOB_KEY
from services.runtime.telemetry import begin
from services.runtime.trace_context import UnreadTrace, extract


class TracingScope:
    """Times the whole call. Outermost, so that it sees the code that the caller will see."""

    __slots__ = ("_asked", "_baggage", "_call", "_export", "_recording", "_service")

    def __init__(self, service: str, export: SpanExport, baggage: bool, call: Call) -> None:
        self._call = call
        self._service = service
        self._export = export
        self._baggage = baggage

    def __enter__(self) -> None:
        call, metadata = self._call, self._call.metadata
        self._asked = ASK_KEY in metadata
        baggage = metadata.get("baggage", "") if self._baggage else ""
        read = UnreadTrace if self._asked else extract
        trace = read(metadata.get("traceparent"), metadata.get("tracestate", ""), baggage)
        if not self._asked:
            trace.sampled = self._export.sampled(trace, call.method)
        self._recording = begin(call.method, trace, self._asked or trace.sampled, loop_lag.now())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._recording is None:
            return
        outcome = self._call.ended(error)
        blob = self._recording.pack(self._service, outcome.code)
        if self._asked and outcome.heard:
            self._call.trailers.append((BLOB_KEY, blob))
        else:
            self._export.blob(self._recording.trace, blob)
