"""Our own processes: how to run one, and how to know that it answers."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.ports import HOST, listens
from deploy.local.processes import Program, Service
from deploy.local.state import State
from services.runtime.channels import opened
from services.runtime.tls import Tls

ROOT = Path(__file__).parents[2]
GATEWAY = "gateway"
SECONDS = 5.0


def service(state: State, name: str, port: int, environment: Mapping[str, str], tls: Tls | None = None) -> Service:
    """How to run one of ours, and with which certificate to ask whether it is ready."""
    module = GATEWAY if name == GATEWAY else f"services.{name}"
    program = Program(
        name=name,
        arguments=[sys.executable, "-m", module],
        folder=ROOT,
        log=state.log(name),
        environment=environment,
    )
    return Service(program, state.pid_file(name), _probe(name, port, tls))


def migrations(name: str) -> Path:
    """The folder with a service's migrations."""
    return ROOT / "services" / name / "migrations"


def _probe(name: str, port: int, tls: Tls | None) -> Callable[[], Awaitable[bool]]:
    async def answers() -> bool:
        if not await listens(port):
            return False
        return await (_is_alive(port) if name == GATEWAY else _serves(port, tls))

    return answers


async def _serves(port: int, tls: Tls | None) -> bool:
    async with opened(f"{HOST}:{port}", tls) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _is_alive(port: int) -> bool:
    return await _answers_200(f"http://{HOST}:{port}/health")


async def is_ready(gateway_url: str) -> bool:
    """Whether the gateway reaches every service."""
    return await _answers_200(f"{gateway_url}/ready")


async def _answers_200(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client:
            return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
