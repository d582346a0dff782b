"""A stack starts whole or not at all, stops whole, and survives its supervisor's hard death."""

import asyncio
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local import ports
from deploy.local.failure import StackError
from deploy.local.stack import Stack, StackOptions

QUICK = ("postgres", "valkey")
TO_BE_KILLED = """
import asyncio, pathlib, sys
from deploy.local.stack import Stack, StackOptions

async def main():
    async with Stack(StackOptions.for_tests(pathlib.Path(sys.argv[1]), parts=("postgres", "valkey"))) as stack:
        print(*stack.pids.values(), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_it_tells_each_step_and_leaves_nothing(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    options = replace(StackOptions.for_tests(tmp_path, QUICK), report=lambda step, state: told.append((step, state)))
    async with Stack(options) as stack:
        pids = stack.pids
        assert set(pids) == set(QUICK)
        assert stack.state.running() == {"pid": os.getpid(), "ports": stack.ports, "tls": False}
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert stack.state.running() is None
    for part in QUICK:
        assert [state for step, state in told if step == part] == ["starting", "ready", "stopping", "stopped"]


@pytest.mark.parametrize(("name", "part"), [("valkey", "valkey"), ("traces_http", "traces")])
async def test_a_taken_port_starts_nothing(tmp_path: Path, name: str, part: str) -> None:
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        taken = {name: listener.getsockname()[1]}
        options = StackOptions(tmp_path, ports={**ports.FREE_PORTS, **taken}, parts=("postgres", part))
        with pytest.raises(StackError, match=f"Port {taken[name]}, which {name} needs"):
            await Stack(options).__aenter__()
    assert not (tmp_path / "postgres").exists()
    assert Stack(options).state.running() is None


async def test_what_fails_to_start_takes_the_others_with_it(tmp_path: Path) -> None:
    states: dict[str, str] = {}
    options = replace(StackOptions.for_tests(tmp_path, QUICK), report=states.__setitem__)
    (tmp_path / "valkey" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest\n")
    with pytest.raises(StackError, match=r"(?s)valkey ended with exit status 1.*valkey\.log.*manifest"):
        await Stack(options).__aenter__()
    assert not list((tmp_path / "run").iterdir())


async def test_after_a_hard_death_the_next_start_copes(tmp_path: Path) -> None:
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TO_BE_KILLED, tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    left = [psutil.Process(int(pid)) for pid in (await supervisor.stdout.readline()).split()]
    assert len(left) == len(QUICK)
    supervisor.kill()
    await supervisor.wait()
    async with Stack(StackOptions.for_tests(tmp_path, QUICK)) as stack:
        connection = await asyncpg.connect(stack.database_url("postgres").replace("/neurectomy", "/postgres"))
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        _, alive = await asyncio.to_thread(psutil.wait_procs, left, timeout=10)
        assert not alive


def test_a_process_is_told_what_it_needs_and_what_the_test_adds(tmp_path: Path) -> None:
    extra = {"auth": {"LOG_LEVEL": "debug", "PASSWORD_MEMORY_MB": "64"}}
    stack = Stack(replace(StackOptions.for_tests(tmp_path), extra_environment=extra))
    environment = stack.environment("auth")
    assert environment["LOG_LEVEL"] == "debug"
    assert environment["PASSWORD_MEMORY_MB"] == "64"
    assert stack.secrets.services["graph"] not in environment["SERVICE_CREDENTIALS"]
    assert "NEO4J_PASSWORD" not in environment
    assert stack.environment("graph")["NEO4J_PASSWORD"] == stack.secrets.neo4j
