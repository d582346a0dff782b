"""What the tests of the HTTP side send and start: latencies, a trace with its log line, another traces process."""

import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from uuid_utils import uuid4

from deploy.local import services
from deploy.local.ports import settle
from deploy.local.processes import Supervised
from deploy.local.stack import Stack
from deploy.local.state import State
from neurectomy.traces.v1 import traces_pb2 as pb
from services.traces.histograms import Histogram
from services.traces.population import Request

MS = 1_000_000
LABELS = ("gateway", "graph", "graph/neo4j")


def report(operation: str, requests: int, trace_id: str = "") -> pb.ReportLatencyRequest:
    """Requests that end now, the slow ones of them by what the graph asked Neo4j."""
    histogram, random = Histogram(), Random(7)
    for _ in range(requests):
        slow = 200 if random.random() < 0.02 else 3
        shares = {"gateway": random.randrange(5, 9) * MS, "graph": 1 * MS, "graph/neo4j": slow * MS}
        histogram.add(Request(sum(shares.values()), 1, shares, dict.fromkeys(shares, 1), trace_id))
    wire = msgspec.msgpack.encode(histogram.to_wire())
    window = pb.LatencyWindow(operation=operation, start_time=Timestamp(seconds=int(time.time())), histogram=wire)
    return pb.ReportLatencyRequest(source=str(uuid4()), sequence=1, windows=[window])


def spans(trace_id: str, operation: str, start: int) -> dict[str, Any]:
    """OTLP JSON of a trace of three spans in two services, 40 ms long; `start` in nanoseconds since 1970."""

    def span(number: int, parent: int, name: str, begin: int, end: int, **more: Any) -> dict[str, Any]:
        return {
            "traceId": trace_id,
            "spanId": f"{number:016x}",
            "parentSpanId": f"{parent:016x}" if parent else "",
            "name": name,
            "startTimeUnixNano": str(start + begin * MS),
            "endTimeUnixNano": str(start + end * MS),
            **more,
        }

    sql = [attribute("db.system.name", "neo4j"), attribute("db.query.summary", "MATCH paths")]
    return {
        "resourceSpans": [
            batch("gateway", "scopeSpans", "spans", [span(1, 0, operation, 0, 40, kind=2)]),
            batch(
                "graph",
                "scopeSpans",
                "spans",
                [
                    span(2, 1, "Traverse", 5, 38, kind=1),
                    span(
                        3, 2, "MATCH paths", 10, 35, kind=3, attributes=sql, status={"code": 2, "message": "too deep"}
                    ),
                ],
            ),
        ]
    }


def line(trace_id: str, text: str, now: int) -> dict[str, Any]:
    """OTLP JSON of a log line of the third of those spans."""
    record = {
        "traceId": trace_id,
        "spanId": f"{3:016x}",
        "timeUnixNano": str(now),
        "severityNumber": 17,
        "body": {"stringValue": text},
    }
    return {"resourceLogs": [batch("graph", "scopeLogs", "logRecords", [record])]}


def batch(service: str, scopes: str, kind: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What one resource sends."""
    return {"resource": {"attributes": [attribute("service.name", service)]}, scopes: [{kind: records}]}


def attribute(name: str, text: str) -> dict[str, Any]:
    """As OTLP JSON has it."""
    return {"key": name, "value": {"stringValue": text}}


async def keep(url: str, trace_id: str, operation: str, text: str) -> None:
    """Have a trace and a log line of it kept."""
    now = time.time_ns()
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for path, body in (("/v1/traces", spans(trace_id, operation, now)), ("/v1/logs", line(trace_id, text, now))):
            answer = await client.post(path, json=body)
            assert (answer.status_code, answer.json()) == (200, {}), answer.text


class Another:
    """A traces process beside the stack's, with settings of its own, that can be ended and started again."""

    def __init__(self, stack: Stack, folder: Path, settings: Mapping[str, str]) -> None:
        ports = settle({"traces": 0, "traces_http": 0})
        listens = {"LISTEN": f"127.0.0.1:{ports['traces']}", "HTTP_LISTEN": f"127.0.0.1:{ports['traces_http']}"}
        environment = stack.environment("traces") | listens | {"TRACES_FOLDER": str(folder / "kept")} | dict(settings)
        self.url = f"http://127.0.0.1:{ports['traces_http']}"
        self.process = Supervised(services.service(State(folder), "traces", ports["traces"], environment))

    async def __aenter__(self) -> "Another":
        await self.process.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.stop()
