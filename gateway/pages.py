"""What the gateway serves beside GraphQL: readiness, metrics, public keys, and GraphiQL where its files are there."""

from asyncio import to_thread
from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gateway.key_set import KeySetPage
from gateway.readiness import Readiness

WEB = Path(__file__).parent / "web"
KEY_SET = "/.well-known/jwks.json"
PATHS = {"/graphql", "/health", "/ready", "/metrics", KEY_SET}
"""Those that metrics tell apart."""


def pages(readiness: Readiness, key_set: KeySetPage, graphiql: Path | None) -> Starlette:
    """The application that serves them."""

    async def ready(_: Request) -> Response:
        services = await readiness.report()
        waiting_for = [service for service, state in services.items() if state != "serving"]
        body = {
            "ready": not waiting_for and not readiness.draining,
            "draining": readiness.draining,
            "services": services,
        }
        return JSONResponse(body, status_code=200 if body["ready"] else 503)

    routes: list[BaseRoute] = [
        Route("/ready", ready),
        Route("/metrics", _metrics),
        Route(KEY_SET, key_set.answer),
    ]
    if graphiql is not None:
        routes += [
            Route("/graphql", _graphiql),
            Mount("/graphiql/page", StaticFiles(directory=WEB)),
            Mount("/graphiql", StaticFiles(directory=graphiql)),
        ]
    return Starlette(routes=routes)


def wants_graphiql(scope: Scope) -> bool:
    """Whether a browser asks for a page, rather than a client for the answer to a query."""
    if scope["method"] != "GET" or b"query=" in scope["query_string"]:
        return False
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


async def _metrics(request: Request) -> Response:
    """As OpenMetrics, which has exemplars, for those who ask for it. Written in a thread, for it can take long."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    collected = CollectorRegistry()
    collected.register(_Collected(list(REGISTRY.collect())))
    return Response(await to_thread(encode, collected), headers={"content-type": media_type})


class _Collected(Collector):
    """What was counted at one moment, in which no request ran."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


async def _graphiql(_: Request) -> Response:
    return FileResponse(WEB / "graphiql.html")
