"""SIGTERM: health says so first, then calls are drained, then the process ends with 0."""

import asyncio
import os
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.stack import Stack

SERVICES = ("auth", "agent_store", "vector_search", "graph", "traces")


@pytest.mark.parametrize("service", SERVICES)
async def test_health_turns_before_the_port_closes(stack: Stack, service: str) -> None:
    seen = []
    async with grpc.aio.insecure_channel(stack.targets[service]) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        seen.append((await watch.read()).status)
        os.kill(stack.pids[service], signal.SIGTERM)
        async with asyncio.timeout(5):
            seen.append((await watch.read()).status)
    assert seen == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
    try:
        async with asyncio.timeout(15):
            while service in stack.pids:  # noqa: ASYNC110 - the supervisor tells when asked
                await asyncio.sleep(0.05)
        assert stack.exit_status(service) == 0
    finally:
        await stack.start(service)
