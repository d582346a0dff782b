"""Errors at the command line are one message and exit status 1."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.local import ports
from deploy.local.state import State


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"NEURECTOMY_PORTS": None})
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return result.stderr


@pytest.mark.parametrize("command", ["down", "status", "seed"])
def test_without_a_running_stack(command: str, tmp_path: Path) -> None:
    assert f"No stack runs in {tmp_path}" in refused(command, "--state", str(tmp_path))


def test_up_where_another_runs(tmp_path: Path) -> None:
    with State(tmp_path).locked({}):
        assert "in use by another stack" in refused("up", "--state", str(tmp_path))


def test_up_on_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        wanted = [f"--port={name}=0" for name in ports.FIXED_PORTS if name != "auth"]
        taken = listener.getsockname()[1]
        message = refused("up", "--state", str(tmp_path), *wanted, f"--port=auth={taken}")
    assert f"Port {taken}, which auth needs" in message


def test_up_with_a_misspelt_port(tmp_path: Path) -> None:
    assert "'gatway=1' names no port" in refused("up", "--state", str(tmp_path), "--port", "gatway=1")


async def test_up_is_interrupted_while_it_starts(tmp_path: Path) -> None:
    anywhere = [f"--port={name}=0" for name in ports.FIXED_PORTS]
    command = [sys.executable, "-u", "-c", "from deploy.cli import app; app()", "up", "--state", str(tmp_path)]
    up = await asyncio.create_subprocess_exec(*command, *anywhere, stdout=asyncio.subprocess.PIPE)
    assert up.stdout is not None
    async for line in up.stdout:
        if line.startswith(b"postgres"):
            break
    up.send_signal(signal.SIGINT)
    told = (await up.stdout.read()).decode()
    assert await up.wait() == 0
    assert "postgres       stopped" in told
    assert "Traceback" not in told
    assert State(tmp_path).running() is None
    assert not list((tmp_path / "run").iterdir())
