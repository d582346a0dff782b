"""The gateway process."""

import asyncio
from contextlib import AsyncExitStack

import uvloop
from prometheus_client import REGISTRY

from gateway.app import App
from gateway.changes import Changes, connect
from gateway.clients import Clients, voucher
from gateway.documents import Documents
from gateway.execution import Engine, load_schema
from gateway.fields import SERVICE
from gateway.identity import Anonymous
from gateway.key_set import KeySetPage
from gateway.metrics import HttpMetrics
from gateway.operations import Operations
from gateway.pages import pages
from gateway.readiness import Readiness
from gateway.remote import open_channels, services_on
from gateway.reports import Reports
from gateway.server import serve
from gateway.settings import GatewaySettings
from gateway.shares import SharesMetrics
from gateway.spans import Spans
from gateway.transports.http import HttpTransport
from gateway.transports.websocket import Door, WebSocketTransport
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.runtime import logs
from services.runtime.channels import ServiceIdentity, callers_token, no_token, traced
from services.runtime.export import exporting
from services.runtime.exposure import warn_of_plaintext
from services.runtime.listening import bind
from services.runtime.log_export import exporting_logs
from services.runtime.loop_lag import loop_lag
from services.runtime.settings import load
from services.runtime.verifying import verifying

NOTICE_SECONDS = 0.5
"""How long a load balancer has to see on /ready that we are leaving."""


async def main() -> None:
    settings = load(GatewaySettings)
    logs.configure(settings, SERVICE)
    warn_of_plaintext(settings, settings.targets().values())
    listener = bind(settings.listen, "The gateway")
    async with AsyncExitStack() as stack:
        export = stack.enter_context(exporting(SERVICE, settings))
        stack.enter_context(exporting_logs(SERVICE, settings))
        channels = await stack.enter_async_context(open_channels(settings.targets(), settings.tls))
        redis = await stack.enter_async_context(connect(settings.redis_url.get_secret_value()))
        auth = traced(channels["auth"], no_token)
        identity = ServiceIdentity(auth, "gateway", settings.service_secret.get_secret_value())
        reports = Reports(TracesServiceStub(traced(channels["traces"], identity.token)))
        await stack.enter_async_context(reports.running())
        metrics = HttpMetrics()
        shares = SharesMetrics(metrics.kept)
        spans = Spans(reports, export, shares)
        await stack.enter_async_context(spans.judging())
        stack.enter_context(loop_lag.measured())

        anonymous = Anonymous(services_on(channels, no_token).auth) if settings.anonymous_access else None
        schema, limits = load_schema(), settings.limits()
        operations = Operations(
            engine=Engine(schema, Documents(schema, limits, settings.document_cache_tokens), limits),
            services=services_on(
                channels, anonymous.or_callers if anonymous else callers_token, voucher(identity.token)
            ),
            changes=Changes(redis, settings.max_queued_changes),
            spans=spans,
            recorded=settings.tracing == "on",
            seconds=settings.request_seconds,
            baggage=settings.carries_baggage,
            clients=Clients(settings.trusted_proxies, settings.trusted_proxy_header),
        )
        verifier = await stack.enter_async_context(verifying(auth, settings))
        door = Door(verifier, anonymous, settings.socket_init_seconds, settings.max_socket_operations)
        websocket = WebSocketTransport(operations, door)
        readiness = Readiness(channels)
        for collector in (metrics, shares, spans.overhead):
            REGISTRY.register(collector)
        app = App(
            HttpTransport(operations, verifier, limits.body_bytes),
            websocket,
            pages(readiness, KeySetPage(services_on(channels, no_token).auth), settings.graphiql_assets),
            metrics,
            settings.graphiql_assets is not None,
        )

        async def leave() -> None:
            readiness.draining = True
            await asyncio.sleep(NOTICE_SECONDS)
            await websocket.close()

        await serve(app, listener, settings, leave)


if __name__ == "__main__":
    uvloop.run(main())
