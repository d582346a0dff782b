"""The traces process."""

from contextlib import AsyncExitStack
from functools import partial
from random import Random

import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server

from neurectomy.traces.v1.traces_pb2_grpc import add_TracesServiceServicer_to_server
from services.runtime import channels
from services.runtime.caller import Verifier
from services.runtime.server import serve
from services.runtime.settings import load
from services.traces.collector import Collector
from services.traces.latency import Latencies
from services.traces.service import OtlpTraces, Traces
from services.traces.settings import TracesSettings


async def main() -> None:
    settings = load(TracesSettings)
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(channels.connect(settings.auth_target, channels.no_token))
        verifier = Verifier(channels.KeySet(auth).fetch, channels.ApiKeys(auth).principal)
        collector = Collector(settings.kept_spans)
        traces = Traces(Latencies(settings.latency_hours, Random()), collector)
        await serve(
            "traces",
            settings,
            verifier,
            register=partial(add_TracesServiceServicer_to_server, traces),
            foreign=partial(add_TraceServiceServicer_to_server, OtlpTraces(collector)),
        )


if __name__ == "__main__":
    uvloop.run(main())
