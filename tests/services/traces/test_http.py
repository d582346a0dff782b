"""The HTTP side of the traces service, over real HTTP: OTLP, the page's API, and who may have what."""

import gzip
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from google.protobuf.json_format import Parse
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from uuid_utils import uuid4

from deploy.local.stack import Stack
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.traces.http.otlp import JSON, MAX_BODY, PROTOBUF
from tests.conftest import Connect, Tenant, service_token
from tests.services.traces.pages import LABELS, Another, attribute, batch, keep, report, spans

TRACE = "/v1/traces"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.traces_url, trust_env=False, timeout=30) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def closed(stack: Stack, tmp_path_factory: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A traces service that lets nobody read without a token."""
    async with (
        Another(stack, tmp_path_factory.mktemp("closed"), {"OPEN_PAGE": "false"}) as another,
        httpx.AsyncClient(base_url=another.url, trust_env=False) as client,
    ):
        yield client


def _binary(trace_id: str) -> bytes:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes.fromhex(trace_id), b"12345678", "export"
    span.start_time_unix_nano, span.end_time_unix_nano = time.time_ns(), time.time_ns() + 5_000
    return request.SerializeToString()


async def test_json_ids_are_hexadecimal_and_unknown_fields_are_no_matter(http: httpx.AsyncClient) -> None:
    trace_id = str(uuid4().hex)
    body = {**spans(trace_id, "from JSON", time.time_ns()), "ofTheFuture": 1}
    answer = await http.post(TRACE, json=body)
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {}, JSON)
    kept = (await http.get(f"/api/traces/{trace_id}")).json()
    assert [span["span_id"] for span in kept["spans"]] == ["0" * 15 + number for number in "123"]
    assert kept["summary"]["failed"] is True
    assert kept["spans"][2]["status_message"] == "too deep"
    assert sum(int(section["end_ns"]) - int(section["start_ns"]) for section in kept["sections"]) == 40_000_000


async def test_a_key_of_an_attribute_is_no_id(http: httpx.AsyncClient) -> None:
    trace_id = str(uuid4().hex)
    body = spans(trace_id, "named like an id", time.time_ns())
    body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"] = [attribute("traceId", "not hexadecimal")]
    assert (await http.post(TRACE, json=body)).status_code == 200
    kept = (await http.get(f"/api/traces/{trace_id}")).json()
    assert kept["spans"][0]["attributes"]["traceId"] == "not hexadecimal"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_protobuf_is_answered_with_protobuf(http: httpx.AsyncClient, packed: bool) -> None:
    trace_id = str(uuid4().hex)
    body = _binary(trace_id)
    encoding = {"content-encoding": "gzip"} if packed else {}
    content = gzip.compress(body) if packed else body
    answer = await http.post(TRACE, content=content, headers={"content-type": PROTOBUF, **encoding})
    assert (answer.status_code, answer.headers["content-type"]) == (200, PROTOBUF)
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
    assert (await http.get(f"/api/traces/{trace_id}")).json()["summary"]["operation"] == "export"


async def test_what_is_refused_is_told_as_partial_success(http: httpx.AsyncClient) -> None:
    record = {"traceId": str(uuid4().hex), "name": "span", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
    endless = [{**record, "spanId": f"{number:016x}"} for number in range(1, 10_006)]
    answer = await http.post(TRACE, json={"resourceSpans": [batch("shop", "scopeSpans", "spans", endless)]})
    assert answer.status_code == 200, answer.text
    assert int(answer.json()["partialSuccess"]["rejectedSpans"]) >= 5


async def test_the_stock_exporter_is_understood(stack: Stack, http: httpx.AsyncClient) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    exporter = OTLPSpanExporter(endpoint=f"{stack.traces_url}{TRACE}")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("checkout") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
    provider.shutdown()
    assert (await http.get(f"/api/traces/{trace_id}")).json()["summary"]["services"] == ["shop"]


def _deep() -> bytes:
    return b'{"resourceSpans":' * 5_000 + b"1" + b"}" * 5_000


def _wrong_id() -> bytes:
    return json.dumps(spans("xyz", "wrong", 1)).encode()


BAD: dict[str, tuple[int, str, dict[str, str], bytes]] = {
    "no JSON": (400, JSON, {}, b"{"),
    "JSON of something else": (400, JSON, {}, b'{"resourceSpans": 7}'),
    "JSON that is no object": (400, JSON, {}, b"[]"),
    "JSON that is no text": (400, JSON, {}, b"\xff\xfe\xfd"),
    "JSON that never ends going down": (400, JSON, {}, _deep()),
    "an id that is not hexadecimal": (400, JSON, {}, _wrong_id()),
    "an id that is a number": (400, JSON, {}, b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":5}]}]}]}'),
    "no protobuf": (400, PROTOBUF, {}, b"\xff\xff\xff"),
    "no gzip": (400, PROTOBUF, {"content-encoding": "gzip"}, b"plain"),
    "half a gzip": (400, JSON, {"content-encoding": "gzip"}, gzip.compress(b"{}" * 1_000)[:-9]),
    "another packing": (415, JSON, {"content-encoding": "br"}, b"{}"),
    "another form": (415, "text/plain", {}, b"{}"),
    "too large": (413, JSON, {}, b" " * (MAX_BODY + 1)),
    "too large when unpacked": (413, PROTOBUF, {"content-encoding": "gzip"}, gzip.compress(b"\0" * (MAX_BODY + 1))),
}


@pytest.mark.parametrize(("status", "form", "headers", "content"), BAD.values(), ids=BAD)
async def test_bad_bodies(
    http: httpx.AsyncClient, status: int, form: str, headers: dict[str, str], content: bytes
) -> None:
    answer = await http.post(TRACE, content=content, headers={"content-type": form, **headers})
    assert answer.status_code == status
    told = Status.FromString(answer.content) if form == PROTOBUF else Parse(answer.text, Status())
    assert told.code != 0
    assert told.message
    assert "Traceback" not in told.message


async def test_a_body_without_a_length_is_cut_off_too(http: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 65_536 + 2):
            yield b" " * 65_536

    answer = await http.post(TRACE, content=endless(), headers={"content-type": JSON})
    assert answer.status_code == 413


async def test_what_is_asked_is_answered_in_the_protos_json(
    http: httpx.AsyncClient, stack: Stack, connect_as: Connect
) -> None:
    gateway = connect_as(TracesServiceStub, await service_token(stack, "gateway"))
    operation, trace_id = f"query Asked{uuid4().hex}", str(uuid4().hex)
    await gateway.ReportLatency(report(operation, 5_000, trace_id))
    await keep(stack.traces_url, trace_id, operation, "a word")
    end = str(int(time.time()) + 20)
    asked = {"window": "60", "end": end}
    listed = (await http.get("/api/operations", params=asked)).json()["operations"]
    (one,) = [each for each in listed if each["operation"] == operation]
    blame = (await http.get("/api/blame", params={**asked, "operation": operation, "percentile": "99"})).json()
    steps = (await http.get("/api/timeline", params={**asked, "operation": operation, "steps": "6"})).json()["steps"]
    traces = (await http.get("/api/traces", params={"operation": operation, "page_size": "5"})).json()["traces"]
    assert one["request_count"] == "5000"
    assert sum(int(share["duration_ns"]) for share in one["shares"]) == int(one["p99_ns"])
    assert blame["parts"][0]["label"] == "graph/neo4j"
    assert {part["label"] for part in blame["parts"]} == set(LABELS)
    assert blame["slowest_trace_id"] == trace_id == traces[0]["trace_id"]
    assert sum(int(step["request_count"]) for step in steps) == 5_000
    kept = (await http.get(f"/api/traces/{trace_id}")).json()
    assert [line["text"] for line in kept["logs"]] == ["a word"]


API_ERRORS = {
    "an unknown trace": ("/api/traces/" + "0" * 32, 404, "TRACE_NOT_FOUND"),
    "no trace id": ("/api/traces/%3Cscript%3E", 404, "TRACE_NOT_FOUND"),
    "an unknown operation": ("/api/blame?operation=nothing", 404, "OPERATION_NOT_FOUND"),
    "a percentile of 100": ("/api/blame?percentile=100", 400, "INVALID_FIELDS"),
    "a percentile that is none": ("/api/blame?percentile=nan", 400, "INVALID_FIELDS"),
    "a window that is none": ("/api/operations?window=soon", 400, "INVALID_FIELDS"),
    "a window of the past": ("/api/operations?window=-1", 400, "INVALID_FIELDS"),
    "an endless window": ("/api/operations?window=inf", 400, "INVALID_FIELDS"),
    "an end after all time": ("/api/operations?end=1e300", 400, "INVALID_FIELDS"),
    "a page beyond 32 bits": ("/api/traces?page_size=99999999999", 400, "INVALID_FIELDS"),
    "an endless page": ("/api/traces?page_size=1001", 400, "INVALID_FIELDS"),
    "an unknown parameter": ("/api/operations?windows=3", 400, "INVALID_FIELDS"),
    "a field by the wrong name": ("/api/operations?end_time=3", 400, "INVALID_FIELDS"),
    "an unknown question": ("/api/nothing", 404, ""),
    "a file that is not there": ("/..%2f..%2fsettings.py", 404, ""),
}


@pytest.mark.parametrize(("path", "status", "reason"), API_ERRORS.values(), ids=API_ERRORS)
async def test_api_errors(http: httpx.AsyncClient, path: str, status: int, reason: str) -> None:
    answer = await http.get(path)
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"]) == (status, reason)
    assert error["code"]
    assert error["message"]


async def test_who_may_read(closed: httpx.AsyncClient, stack: Stack, tenant: Tenant) -> None:
    operator = await service_token(stack, "cli")
    expected = {
        "": (401, "TOKEN_MISSING"),
        "Basic abc": (401, "TOKEN_INVALID"),
        "Bearer abc": (401, "TOKEN_INVALID"),
        f"Bearer {tenant.token}": (403, "PERMISSION_MISSING"),
        f"Bearer {operator}": (200, None),
    }
    for path in ("/api/operations", "/api/settings", "/api/traces"):
        for header, (status, reason) in expected.items():
            answer = await closed.get(path, headers={"authorization": header} if header else {})
            assert answer.status_code == status, (path, header)
            assert answer.json().get("error", {}).get("reason") == reason
            assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_the_page_itself_and_health_are_for_all(closed: httpx.AsyncClient) -> None:
    assert (await closed.get("/health")).json() == {"status": "ok"}
    assert "<title>" in (await closed.get("/")).text
    assert (await closed.get("/", headers={"host": "traces.example"})).status_code == 200


async def test_an_open_page_refuses_a_bad_token_all_the_same(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/operations", headers={"authorization": "Bearer abc"})).status_code == 401


HOSTS = {"127.0.0.1": 200, "localhost:4318": 200, "[::1]:1": 200, "LOCALHOST": 200} | dict.fromkeys(
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:4318", "evil.example:127.0.0.1", ""], 421
)


@pytest.mark.parametrize(("host", "status"), HOSTS.items())
async def test_an_open_page_answers_to_this_machines_names_only(
    http: httpx.AsyncClient, host: str, status: int
) -> None:
    for path in ("/api/operations", "/"):
        assert (await http.get(path, headers={"host": host})).status_code == status


async def test_no_answer_lets_a_browser_do_more_than_the_page_needs(http: httpx.AsyncClient) -> None:
    for path in ("/", "/main.js", "/api/operations", "/api/traces/x", "/nothing"):
        headers = (await http.get(path, headers={"origin": "https://evil.example"})).headers
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == ("no-store" if path.startswith("/api/") else "no-cache")
        assert not [name for name in headers if name.startswith("access-control-")]
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert (await http.options(TRACE, headers=asked)).status_code == 405


REFUSED = {
    "an open page in production": ({"ENVIRONMENT": "production"}, "OPEN_PAGE must not be set"),
    "a link without an id": ({"TRACE_LINK": "https://jaeger.example/"}, "TRACE_LINK"),
    "a link that is a script": ({"TRACE_LINK": "javascript:alert('{trace_id}')"}, "TRACE_LINK"),
}


@pytest.mark.parametrize(("settings", "told"), REFUSED.values(), ids=REFUSED)
async def test_settings_that_are_refused(stack: Stack, tmp_path: Path, settings: dict[str, str], told: str) -> None:
    another = Another(stack, tmp_path, settings)
    with pytest.raises(Exception, match=r"(?s)exit status 2.*" + told):
        await another.process.start()


async def test_a_taken_port_is_told_in_a_line(stack: Stack, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = f"127.0.0.1:{listener.getsockname()[1]}"
        another = Another(stack, tmp_path, {"HTTP_LISTEN": taken})
        with pytest.raises(Exception, match=f"The traces service cannot listen on {taken}"):
            await another.process.start()
