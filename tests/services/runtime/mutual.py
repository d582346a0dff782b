"""Certificates of two authorities, files that they are replaced in, and a server that tells who has called it."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.certificates import Authority, Pair
from deploy.local.state import write_private
from services.runtime.settings import TlsSettings
from services.runtime.tls import Tls, server_credentials

HOST = "127.0.0.1"
NOW = datetime.now(UTC)
DAY = timedelta(1)
OURS, OTHERS = Authority(NOW - 3 * DAY), Authority(NOW - 3 * DAY)
SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
SECONDS = 10.0


def issued(authority: Authority = OURS, host: str = HOST, ends: datetime = NOW + DAY) -> Pair:
    """Another certificate."""
    return authority.issue("somebody", [host], NOW - 2 * DAY, ends)


def serial(pair: Pair) -> int:
    """By which certificates are told apart."""
    return x509.load_pem_x509_certificate(pair.certificate.encode()).serial_number


@dataclass(frozen=True, slots=True)
class Files:
    """What a process is given: a folder of its own."""

    folder: Path

    def write(self, pair: Pair, authority: Authority = OURS) -> "Files":
        """Replace all three."""
        self.folder.mkdir(exist_ok=True)
        for setting, text in zip(self.paths, (pair.certificate, pair.key, authority.certificate), strict=True):
            write_private(self.paths[setting], text)
        return self

    @property
    def paths(self) -> dict[str, Path]:
        """By setting."""
        return {key.upper(): self.folder / f"{key}.pem" for key in TlsSettings.model_fields}

    @property
    def environment(self) -> dict[str, str]:
        """What a process would read."""
        return {setting: str(path) for setting, path in self.paths.items()}

    @property
    def context(self) -> ssl.SSLContext:
        """For a client that is not gRPC's."""
        context = ssl.create_default_context(cafile=self.paths["TLS_AUTHORITY"])
        context.load_cert_chain(self.paths["TLS_CERTIFICATE"], self.paths["TLS_KEY"])
        context.set_alpn_protocols(["h2"])
        return context

    @property
    def tls(self) -> Tls:
        """Such as looks at the files each time that it is asked."""
        ticks = itertools.count()
        certificate, key, authority = self.paths.values()
        return Tls(certificate, key, authority, lambda: float(next(ticks)))


@dataclass
class Server(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # which has no types
    """Always healthy; a watched health is told again when the test says so."""

    target: str = ""
    callers: list[int] = field(default_factory=list)
    """Serial numbers of what clients showed, call by call."""
    again: asyncio.Event = field(default_factory=asyncio.Event)

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        """Healthy."""
        self.callers.append(_shown(context))
        return SERVING

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 - the RPC's name
        """Healthy, and still healthy."""
        yield SERVING
        await self.again.wait()
        yield SERVING


def _shown(context: Any) -> int:
    return x509.load_pem_x509_certificate(context.auth_context()["x509_pem_cert"][0]).serial_number


@asynccontextmanager
async def serving(tls: Tls | None, host: str = HOST) -> AsyncIterator[Server]:
    """A server; plaintext without `tls`. Its target names the host."""
    server, servicer = grpc.aio.server(), Server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"{HOST}:0"
    port = server.add_secure_port(address, server_credentials(tls)) if tls else server.add_insecure_port(address)
    await server.start()
    servicer.target = f"{host}:{port}"
    yield servicer
    await server.stop(None)


async def asked(channel: grpc.aio.Channel) -> grpc.StatusCode:
    """How one call ends."""
    try:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK
