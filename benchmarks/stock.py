"""`python -m benchmarks.stock MODULE`: one of our processes with OpenTelemetry's own instrumentation instead of ours.

What a team gets that installs the packages and follows their documentation: the ASGI, gRPC, asyncpg and Redis
instrumentations, every request sampled, the batch processor and the OTLP exporter. Run it with TRACING=off.
"""

import runpy
import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient, GrpcAioInstrumentorServer
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def instrument(service: str) -> None:
    """Everything that is there for what our processes use; Neo4j's driver has nothing."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(insecure=True)))
    trace.set_tracer_provider(provider)
    instrumentors: tuple[Any, ...] = (
        GrpcAioInstrumentorServer,
        GrpcAioInstrumentorClient,
        AsyncPGInstrumentor,
        RedisInstrumentor,
    )
    for instrumentor in instrumentors:
        instrumentor().instrument()


def wrap_gateway() -> None:
    """Put the ASGI middleware around the gateway's application."""
    from gateway import server as module

    server: Any = module
    serve = server.serve

    async def serve_instrumented(app: Any, *arguments: Any) -> None:
        instrumented: Any = OpenTelemetryMiddleware(app)
        instrumented.metrics = app.metrics  # which our server asks the application for
        await serve(instrumented, *arguments)

    server.serve = serve_instrumented


def main(module: str) -> None:
    instrument(module.rpartition(".")[2])
    if module == "gateway":
        wrap_gateway()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
