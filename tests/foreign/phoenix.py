"""A back end that is not ours reads a kept trace: Arize Phoenix, which takes OTLP and is asked by REST. By hand:

    python3.11 -m venv DIR && DIR/bin/pip install arize-phoenix        (855 MB, so it is in no lock)
    .venv/bin/python -m tests.foreign.phoenix DIR/bin/phoenix

It starts a stack of its own whose gateway exports to Phoenix, sends one sampled query through all services, and
compares what Phoenix has with what our own traces service has, span by span. Phoenix keeps no resources; a span's
service is that of the nearest server span above it, which is right only if the parents are.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from deploy.local.ports import HOST, settle
from deploy.local.stack import Stack, StackOptions
from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.runtime.channels import ServiceIdentity, connect, no_token
from tests.gateway.clients import SETTLE_SECONDS, Client, make_world
from tests.gateway.test_queries import SHOW
from tests.gateway.test_spans import kept_trace

PARENT = "b7ad6b7169203331"
SERVICES = {"gateway", "auth", "agent_store", "vector_search", "graph"}
Spans = Mapping[str, dict[str, Any]]


@asynccontextmanager
async def phoenix(program: str, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """A running Phoenix: its page's address, and its OTLP end point."""
    ports = settle({"page": 0, "grpc": 0})
    environment = {
        **os.environ,
        "PHOENIX_HOST": HOST,
        "PHOENIX_PORT": str(ports["page"]),
        "PHOENIX_GRPC_PORT": str(ports["grpc"]),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, "serve", env=environment, stdout=log, stderr=log)
        try:
            page = f"http://{HOST}:{ports['page']}"
            await answers(f"{page}/healthz")
            yield page, f"http://{HOST}:{ports['grpc']}"
        finally:
            process.terminate()
            await process.wait()


async def answers(url: str) -> None:
    """Return when it does."""
    async with asyncio.timeout(180), httpx.AsyncClient(trust_env=False) as http:
        while True:
            try:
                if (await http.get(url)).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.5)


async def ask(gateway_url: str, trace_id: str) -> None:
    """The query through all services, sampled by its caller."""
    async with httpx.AsyncClient(base_url=gateway_url, timeout=30, trust_env=False) as http:
        world = await make_world(Client(http))
        response = await world.client.post({"query": SHOW}, traceparent=f"00-{trace_id}-{PARENT}-01")
        assert "errors" not in response.json(), response.text


async def ours(stack: Stack, trace_id: str) -> pb.GetTraceResponse:
    """The trace as our own traces service has it."""
    secret = stack.secrets.services["cli"]
    async with connect(stack.targets["auth"], no_token, None) as auth:
        identity = ServiceIdentity(auth, "cli", secret)
        async with connect(stack.targets["traces"], identity.token, None) as traces:
            return await kept_trace(TracesServiceStub(traces), trace_id)


async def theirs(page: str, trace_id: str, count: int) -> Spans:
    """The trace as Phoenix has it, by span id, as soon as it has that many spans."""
    async with asyncio.timeout(SETTLE_SECONDS), httpx.AsyncClient(base_url=page, trust_env=False) as http:
        while True:
            parameters: dict[str, str | int] = {"trace_id": trace_id, "limit": 1_000}
            answer = await http.get("/v1/projects/default/spans/otlpv1", params=parameters)
            found = answer.json().get("data", []) if answer.status_code == httpx.codes.OK else []
            if len(found) >= count:
                return {span["span_id"]: span for span in found}
            await asyncio.sleep(0.5)


def service_of(spans: Spans, span_id: str) -> str:
    """Whose span it is, by the nearest call above it."""
    span = spans[span_id]
    method = attribute(span, "rpc.method")
    if method and not attribute(span, "service.peer.name"):
        return method.split(".")[1]
    above = span.get("parent_span_id") or ""
    return service_of(spans, above) if above in spans else "gateway"


def attribute(span: dict[str, Any], name: str) -> str:
    """A text of the span's, or nothing."""
    return next((pair["value"]["string_value"] for pair in span["attributes"] if pair["key"] == name), "")


def compare(here: pb.GetTraceResponse, there: Spans) -> None:
    """Print each span as Phoenix has it; raise AssertionError where it differs from ours."""
    assert len(there) == len(here.spans), (len(there), len(here.spans))
    for span in here.spans:
        other = there[span.span_id]
        found = (service_of(there, span.span_id), other["name"], other.get("parent_span_id") or "")
        assert found == (span.service, span.name, span.parent_id or PARENT), (found, span)
        print(f"{found[2] or '-':18}{span.span_id:18}{found[0]:15}{found[1]}")
    services = {service_of(there, span_id) for span_id in there}
    assert services == SERVICES, services
    print(f"{len(there)} spans of {len(services)} services, each under the same parent as ours.")


async def main(program: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, trace_id = Path(name), uuid4().hex
        async with phoenix(program, folder) as (page, endpoint):
            exporting = {"gateway": {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}}
            options = StackOptions.for_tests(folder / "state")
            options = StackOptions(options.state, options.ports, extra_environment=exporting)
            async with Stack(options) as stack:
                await ask(stack.gateway_url, trace_id)
                here = await ours(stack, trace_id)
                compare(here, await theirs(page, trace_id, len(here.spans)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
