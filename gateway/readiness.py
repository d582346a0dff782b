"""Whether the services that answers are made of can be reached, by gRPC's standard health protocol."""

import asyncio
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.remote import Channels

NEEDED = ("auth", "agent_store", "vector_search", "graph")
SECONDS = 1.0


class Readiness:
    """Asks each service when it is asked itself."""

    def __init__(self, channels: Channels) -> None:
        self._health = {service: health_pb2_grpc.HealthStub(channels[service]) for service in NEEDED}
        self.draining = False

    async def report(self) -> Mapping[str, str]:
        """`serving`, or what is wrong, for each service."""
        states = await asyncio.gather(*map(self._state, self._health))
        return dict(zip(self._health, states, strict=True))

    async def _state(self, service: str) -> str:
        try:
            answer = await self._health[service].Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.code().name.lower()
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status).lower())
