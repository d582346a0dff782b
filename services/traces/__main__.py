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
from services.runtime.caller import Verifier
from services.runtime.server import serve
from services.runtime.settings import load
from services.traces import metrics
from services.traces.collector import Collector
from services.traces.latency import Latencies
from services.traces.persistence import Persistence, open_store
from services.traces.service import OtlpLogs, OtlpTraces, Saved, Traces
from services.traces.settings import MB, TracesSettings


async def main() -> None:
    settings = load(TracesSettings)
    logs.configure(settings, "traces")  # before the file is opened, which may have something to say
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(channels.connect(settings.auth_target, channels.no_token))
        verifier = Verifier(channels.KeySet(auth).fetch, channels.ApiKeys(auth).principal)
        collector = Collector(settings.kept_mb * MB, settings.kept_hours)
        latencies = Latencies(settings.latency_hours, settings.latency_mb * MB, Random())
        metrics.watch(latencies, collector)
        persistence = Persistence(open_store(settings.traces_folder), latencies, collector)
        await stack.enter_async_context(persistence.running())
        register = partial(add_TracesServiceServicer_to_server, Traces(latencies, collector, persistence.saved))
        await serve("traces", settings, verifier, register, foreign=partial(_add_otlp, collector, persistence.saved))


def _add_otlp(collector: Collector, saved: Saved, server: grpc.aio.Server) -> None:
    add_TraceServiceServicer_to_server(OtlpTraces(collector, saved), server)  # type: ignore[no-untyped-call]
    add_LogsServiceServicer_to_server(OtlpLogs(collector, saved), server)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    uvloop.run(main())
