"""The traces process."""

from contextlib import AsyncExitStack
from functools import partial
from random import Random

import grpc
import uvloop
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import add_LogsServiceServicer_to_server
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server

from neurectomy.traces.v1.traces_pb2_grpc import add_TracesServiceServicer_to_server
from services.runtime import channels, logs
from services.runtime.background import in_background
from services.runtime.listening import bind
from services.runtime.server import serve
from services.runtime.settings import load
from services.runtime.verifying import verifying
from services.traces import metrics
from services.traces.collector import Collector
from services.traces.http.app import Servicers, application
from services.traces.http.server import listening
from services.traces.latency import Latencies
from services.traces.persistence import Persistence, open_store
from services.traces.service import OtlpLogs, OtlpTraces, Traces
from services.traces.settings import MB, TracesSettings


async def main() -> None:
    settings = load(TracesSettings)
    logs.configure(settings, "traces")  # before the file is opened, which may have something to say
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(channels.connect(settings.auth_target, channels.no_token, settings.tls))
        verifier = await stack.enter_async_context(verifying(auth, settings))
        collector = Collector(settings.kept_mb * MB, settings.kept_hours)
        latencies = Latencies(settings.latency_hours, settings.latency_mb * MB, Random())
        metrics.watch(latencies, collector)
        persistence = Persistence(open_store(settings.traces_folder), latencies, collector)
        await stack.enter_async_context(persistence.running())
        await stack.enter_async_context(in_background(latencies.settling()))
        saved = persistence.saved
        servicers = Servicers(
            Traces(latencies, collector, saved), OtlpTraces(collector, saved), OtlpLogs(collector, saved)
        )
        if settings.http_listen:
            listener = bind(settings.http_listen, "The traces service")
            page = application(servicers, verifier, settings)
            await stack.enter_async_context(listening(page, listener, settings.shutdown_grace_seconds))
        register = partial(add_TracesServiceServicer_to_server, servicers.traces)
        await serve("traces", settings, verifier, register, foreign=partial(_add_otlp, servicers))


def _add_otlp(servicers: Servicers, server: grpc.aio.Server) -> None:
    add_TraceServiceServicer_to_server(servicers.otlp_traces, server)  # type: ignore[no-untyped-call]
    add_LogsServiceServicer_to_server(servicers.otlp_logs, server)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    uvloop.run(main())
