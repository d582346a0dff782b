"""Processes that die, that hang, and that are orphaned."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.local.failure import StackError
from deploy.local.processes import Program, Service, Supervised, end_left_over, log_end, noted, write_pid

SLEEP = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
DYING = "print(*range(30), sep='\\n'); raise SystemExit(3)"
ORPHAN = """
import asyncio, pathlib, sys
from deploy.local.processes import Program

async def main():
    folder = pathlib.Path(sys.argv[1])
    program = Program("orphan", [sys.executable, "-c", "import time; time.sleep(60)"], folder, folder / "log")
    print((await program.spawn()).pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def at_once() -> bool:
    return True


async def never() -> bool:
    return False


def python(folder: Path, code: str) -> Program:
    return Program("example", [sys.executable, "-c", code], folder, folder / "example.log")


async def test_one_that_dies_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    process = Supervised(Service(python(tmp_path, DYING), tmp_path / "pid", never))
    (tmp_path / "example.log").write_text("of an earlier run\n")
    with pytest.raises(StackError, match="example ended with exit status 3") as died:
        await process.start()
    assert str(died.value).endswith("\n\n" + "\n".join(map(str, range(10, 30))))
    assert process.pid is None


async def test_one_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    process = Supervised(Service(python(tmp_path, SLEEP), tmp_path / "pid", never, ready_seconds=0.2))
    with pytest.raises(StackError, match=r"(?s)not ready within 0 s.*\(nothing\)"):
        await process.start()
    assert noted(tmp_path / "pid") is None


async def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    async def is_deaf() -> bool:
        return log_end(tmp_path / "example.log") > 0

    process = Supervised(Service(python(tmp_path, DEAF), tmp_path / "pid", is_deaf, stop_seconds=0.2))
    await process.start()
    pid = process.pid
    await process.stop()
    assert pid is not None
    assert not psutil.pid_exists(pid)


async def test_one_can_be_killed_and_started_again(tmp_path: Path) -> None:
    process = Supervised(Service(python(tmp_path, SLEEP), tmp_path / "pid", at_once))
    await process.start()
    first = process.pid
    await process.kill()
    assert process.pid is None
    await process.start()
    assert process.pid not in (None, first)
    await process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
async def test_it_dies_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    orphan = psutil.Process(int(await supervisor.stdout.readline()))
    supervisor.kill()
    await supervisor.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, [orphan], timeout=10)
    assert not alive


def test_what_is_left_over_is_ended_but_not_who_has_its_number_now(tmp_path: Path) -> None:
    left_over = subprocess.Popen([sys.executable, "-c", SLEEP])
    write_pid(tmp_path / "left", left_over.pid)
    (tmp_path / "reused").write_text(f"{os.getpid()} 1.0")
    for name in ("left", "reused", "missing"):
        end_left_over(tmp_path / name)
    left_over.wait(timeout=5)
    assert noted(tmp_path / "left") is None
