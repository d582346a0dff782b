"""serve(): what every gRPC service does around its own servicer, from binding the port to draining it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.runtime import logs
from services.runtime.caller import CallerScope, access_rule
from services.runtime.deadlines import DeadlineScope
from services.runtime.errors import ErrorsScope
from services.runtime.export import SpanExport, exporting
from services.runtime.exposure import warn_of_plaintext
from services.runtime.garbage import spare_the_collector
from services.runtime.log_export import exporting_logs
from services.runtime.logs import LogScope
from services.runtime.loop_lag import loop_lag
from services.runtime.metrics import MetricsScope, serve_metrics
from services.runtime.scopes import MAX_MESSAGE, Scope, ScopedServer
from services.runtime.settings import ServiceSettings
from services.runtime.tls import server_credentials
from services.runtime.tracing import TracingScope
from services.runtime.verifier import Verifier

Register = Callable[[grpc.aio.Server], None]
NOTICE_SECONDS = 0.5
"""How long clients have to see NOT_SERVING before connections are told to go away."""
OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]

TLS_OPTIONS = [
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 300_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
]
"""Certificates are looked at when a connection begins: none outlives its own, or its authority, by more than this."""

log = structlog.get_logger()


def _nothing() -> None:
    """For services whose every call ends by itself."""


async def serve(
    service: str,
    settings: ServiceSettings,
    verifier: Verifier,
    register: Register,
    foreign: Register | None = None,
    draining: Callable[[], None] = _nothing,
    scopes: Sequence[Scope] = (),
) -> None:
    """Answer calls on `settings.listen` until SIGTERM or SIGINT, then drain.

    `register` adds our servicer, whose every RPC must state its access rule; `foreign` adds those of other protos, such
    as OTLP, which are open to whoever reaches the port. `draining` tells streams without an end to end, so that
    draining need not wait for them. `scopes` are a service's own, inside all others.
    """
    logs.configure(settings, service)
    warn_of_plaintext(settings, [settings.listen, settings.auth_target])
    serve_metrics(settings.metrics_port)
    with exporting(service, settings) as export, exporting_logs(service, settings):
        server = grpc.aio.server(options=[*OPTIONS, *(TLS_OPTIONS if settings.tls else ())])
        scoped = ScopedServer(server, scopes_for(service, settings, verifier, export, scopes))
        register(scoped)  # type: ignore[arg-type]  # it stands in for the server
        if foreign is not None:
            foreign(server)
        servicer = health.aio.HealthServicer()
        async with _probed(servicer, settings.health_listen):
            async with _healthy(server, servicer, scoped.services):
                port = _listen(server, settings)
                await server.start()
                log.info("listening", port=port)
                spare_the_collector()
                with loop_lag.measured():
                    await terminated()
            await _drain(server, settings, draining)


def scopes_for(
    service: str, settings: ServiceSettings, verifier: Verifier, export: SpanExport, own: Sequence[Scope] = ()
) -> Callable[[str], Sequence[Scope]]:
    """What is around each call of a method, outermost first."""

    def scopes(method: str) -> list[Scope]:
        rule = access_rule(method)
        baggage = settings.carries_baggage
        tracing: list[Scope] = [partial(TracingScope, service, export, baggage)]  # times all
        return [
            *(tracing if settings.tracing == "on" else []),
            LogScope,  # inside tracing, which knows the trace; outside errors, as metrics are
            MetricsScope,  # outside errors, so that it counts the code that the caller sees
            ErrorsScope,
            DeadlineScope,  # before the caller is verified, which may itself call auth
            partial(CallerScope, rule=rule, verifier=verifier),  # raises domain errors, so errors is outside it
            *own,
        ]

    return scopes


def _listen(server: grpc.aio.Server, settings: ServiceSettings) -> int:
    if settings.tls is None:
        return server.add_insecure_port(settings.listen)
    return server.add_secure_port(settings.listen, server_credentials(settings.tls))


@asynccontextmanager
async def _healthy(
    server: grpc.aio.Server, servicer: health.aio.HealthServicer, services: Sequence[str]
) -> AsyncIterator[None]:
    """Health says SERVING inside, and NOT_SERVING afterwards."""
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    for name in ("", *services):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield
    finally:
        await servicer.enter_graceful_shutdown()


@asynccontextmanager
async def _probed(servicer: health.aio.HealthServicer, address: str | None) -> AsyncIterator[None]:
    """The same health in plaintext, for probes, where there is an address for it; until after draining."""
    if address is None:
        yield
        return
    server = grpc.aio.server(options=OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


async def _drain(server: grpc.aio.Server, settings: ServiceSettings, draining: Callable[[], None]) -> None:
    log.info("draining")
    await asyncio.sleep(NOTICE_SECONDS)
    draining()
    await server.stop(settings.shutdown_grace_seconds)
    log.info("stopped")


async def terminated() -> None:
    """Return at the first SIGTERM or SIGINT."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()
