"""Back ends that are not ours: plain OTLP servers over gRPC and HTTP that keep what they are sent."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

HOST = "127.0.0.1"
SENT_SECONDS = 30.0


@dataclass
class Sink:
    """What arrived, and with which headers."""

    endpoint: str = ""
    resource_spans: list[trace_pb2.ResourceSpans] = field(default_factory=list)
    resource_logs: list[logs_pb2.ResourceLogs] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    shown: list[bytes] = field(default_factory=list)
    """The certificates of those who sent spans, where it is over TLS."""
    hang: threading.Event | None = None
    """An export waits for it, when there is one."""
    arrived: threading.Event = field(default_factory=threading.Event)

    def spans(self, trace_id: str = "") -> list[tuple[dict[str, Any], trace_pb2.Span]]:
        """Each span with its resource's attributes; those of one trace, where one is named."""
        return [
            (values(batch.resource.attributes), span)
            for batch in self.resource_spans
            for scope in batch.scope_spans
            for span in scope.spans
            if trace_id in ("", span.trace_id.hex())
        ]

    def logs(self) -> list[tuple[dict[str, Any], logs_pb2.LogRecord]]:
        """Each log line with its resource's attributes."""
        return [
            (values(batch.resource.attributes), record)
            for batch in self.resource_logs
            for scope in batch.scope_logs
            for record in scope.log_records
        ]

    def take(self, headers: dict[str, str], request: Any) -> None:
        """Keep an export."""
        self.arrived.set()
        if self.hang is not None:
            self.hang.wait()
        self.headers = headers
        self.resource_spans.extend(getattr(request, "resource_spans", ()))
        self.resource_logs.extend(getattr(request, "resource_logs", ()))


def values(pairs: Any) -> dict[str, Any]:
    """Attributes as a dict."""
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        self._sink.shown.extend(context.auth_context().get("x509_pem_cert", ()))
        self._sink.take(dict(context.invocation_metadata()), request)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        self._sink.take(dict(context.invocation_metadata()), request)
        return logs_service_pb2.ExportLogsServiceResponse()


@contextmanager
def grpc_sink(credentials: grpc.ServerCredentials | None = None) -> Iterator[Sink]:
    """OTLP over gRPC; over TLS with credentials."""
    sink = Sink()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(sink), server)  # type: ignore[no-untyped-call]
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Logs(sink), server)  # type: ignore[no-untyped-call]
    address = f"{HOST}:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    sink.endpoint = f"{'https' if credentials else 'http'}://{HOST}:{port}"
    server.start()
    try:
        yield sink
    finally:
        if sink.hang is not None:
            sink.hang.set()
        server.stop(None).wait()


REQUESTS: dict[str, Any] = {
    "/v1/traces": trace_service_pb2.ExportTraceServiceRequest,
    "/v1/logs": logs_service_pb2.ExportLogsServiceRequest,
}


@contextmanager
def http_sink() -> Iterator[Sink]:
    """OTLP over HTTP with protobuf."""
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            sink.take(
                {name.lower(): value for name, value in self.headers.items()}, REQUESTS[self.path].FromString(body)
            )
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    sink.endpoint = f"http://{HOST}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed one for this machine, as files."""

    key: Path
    chain: Path

    @property
    def server(self) -> grpc.ServerCredentials:
        """For a server that wants clients to show the same certificate."""
        pair = (self.key.read_bytes(), self.chain.read_bytes())
        return grpc.ssl_server_credentials([pair], self.chain.read_bytes(), require_client_auth=True)


def self_signed(folder: Path) -> Certificate:
    """A new certificate in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = Certificate(folder / "key.pem", folder / "certificate.pem")
    no_password = serialization.NoEncryption()
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password))
    files.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return files
