"""Which port each part of the stack listens on."""

import asyncio
import random
import socket
from collections.abc import Mapping, Sequence

import psutil

from deploy.local.failure import StackError

HOST = "127.0.0.1"
MAX_PORT = 65_535
# All below 32768: from there on systems hand out ports for outgoing connections, and one of ours would now and then
# be taken by a call that our own services make while they start.
FIXED_PORTS: Mapping[str, int] = {
    "postgres": 15432,
    "valkey": 16379,
    "neo4j": 7688,
    "auth": 15051,
    "agent_store": 15052,
    "vector_search": 15053,
    "graph": 15054,
    "traces": 4317,  # OTLP's own ports, so that exporters that are told nothing find it
    "traces_http": 4318,
    "gateway": 4000,
}
PART_OF: Mapping[str, str] = {"traces_http": "traces"}
"""Second ports -> whose."""
FREE_PORTS: Mapping[str, int] = dict.fromkeys(FIXED_PORTS, 0)
"""0 takes any free port."""

# Below every system's range for outgoing connections, which would otherwise take a port between our look and our use.
FREE_RANGE = range(20_000, 32_000)


def parse(words: Sequence[str]) -> dict[str, int]:
    """From words such as `gateway=4001`. Raises StackError for what is none."""
    ports = {}
    for word in words:
        name, _, number = word.partition("=")
        if name not in FIXED_PORTS or not number.isdecimal() or int(number) > MAX_PORT:
            raise StackError(f"{word!r} names no port. Say PART=NUMBER; the parts are {', '.join(FIXED_PORTS)}.")
        ports[name] = int(number)
    return ports


def settle(wanted: Mapping[str, int]) -> dict[str, int]:
    """Replace each 0 by a port that is free now."""
    taken = set(wanted.values())
    settled = {}
    for name, port in wanted.items():
        settled[name] = port or _free_port(taken)
        taken.add(settled[name])
    return settled


def require_free(name: str, port: int) -> None:
    """Raise StackError when the port is taken."""
    if not is_free(port):
        raise StackError(
            f"Port {port}, which {name} needs, is taken{_holder(port)}. End what uses it, or choose another: "
            f"`--port {name}=NUMBER`, or NEURECTOMY_PORTS={name}=NUMBER in the environment."
        )


def is_free(port: int) -> bool:
    """Whether nothing listens there. A port that was only just closed counts as free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


async def listens(port: int) -> bool:
    """Whether something accepts connections there: the cheap look before a client's costly one."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _free_port(taken: set[int]) -> int:
    candidates = random.SystemRandom().sample(FREE_RANGE, 1_000)
    return next(port for port in candidates if port not in taken and is_free(port))


def _holder(port: int) -> str:
    try:
        listeners = [c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.pid]
        names = {f"{psutil.Process(connection.pid).name()}, process {connection.pid}" for connection in listeners}
    except psutil.Error:
        return ""
    return f" by {' and '.join(sorted(names))}" if names else ""
