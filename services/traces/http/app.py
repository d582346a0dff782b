"""The HTTP application of the traces service: its page, what the page asks, and OTLP."""

from pathlib import Path
from typing import NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceServicer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceServicer
from services.runtime.errors import DomainError
from services.runtime.verifier import Verifier
from services.traces.http import api, errors, otlp
from services.traces.http.guard import Guard
from services.traces.http.readers import Readers
from services.traces.settings import TracesSettings

WEB = Path(__file__).parents[1] / "web"


class Servicers(NamedTuple):
    """What answers, here as over gRPC."""

    traces: TracesServiceServicer
    otlp_traces: TraceServiceServicer
    otlp_logs: LogsServiceServicer


def application(servicers: Servicers, verifier: Verifier, settings: TracesSettings) -> Starlette:
    """Everything that the HTTP port answers."""
    readers = Readers(verifier, settings.open_page)
    routes = [
        Route("/health", _health),
        otlp.route("/v1/traces", servicers.otlp_traces.Export, ExportTraceServiceRequest),
        otlp.route("/v1/logs", servicers.otlp_logs.Export, ExportLogsServiceRequest),
        *api.routes(servicers.traces, readers, {"trace_link": settings.trace_link}),
        Mount("/", StaticFiles(directory=WEB, html=True)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, only_this_machine=settings.open_page)],
        exception_handlers={DomainError: errors.refused, HTTPException: errors.unrouted},
    )


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})
