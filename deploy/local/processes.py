"""Child processes: started, watched until ready, stopped; dead when this process dies, however it dies."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.local.failure import StackError

LEASH = Path(__file__).with_name("leash.py")
PROBE_SECONDS = 0.05
KILLED_SECONDS = 5.0
SHOWN_LINES = 20


@dataclass(frozen=True, slots=True)
class Program:
    """What to run."""

    name: str
    arguments: Sequence[str | Path]
    """The first is the program's path."""
    folder: Path
    """Where it runs."""
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    owner: tuple[int, int] | None = None
    """User and group id, where not ours."""
    death_signal: signal.Signals = signal.SIGKILL
    """What it gets when we are gone."""

    async def run(self) -> None:
        """Wait until it ends. Raises StackError with its last log lines when it fails."""
        start = log_end(self.log)
        process = await self.spawn()
        try:
            status = await process.wait()
        except BaseException:
            process.kill()
            raise
        if status != 0:
            raise self.failure(f"failed with exit status {status}", start)

    async def spawn(self) -> asyncio.subprocess.Process:
        """Start it, in a session of its own: Ctrl-C in the terminal is ours to pass on, in order."""
        user, group = self.owner or (os.getuid(), os.getgid())
        leash = [sys.executable, "-I", "-S", LEASH, os.getpid(), int(self.death_signal), f"{user}:{group}"]
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *map(str, [*leash, *self.arguments]),
                cwd=self.folder,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def failure(self, what: str, log_start: int) -> StackError:
        """What happened, and the end of what it wrote since."""
        with self.log.open("rb") as log:
            log.seek(log_start)
            lines = log.read().decode(errors="replace").splitlines()[-SHOWN_LINES:]
        written = "\n".join(lines) or "(nothing)"
        return StackError(f"{self.name} {what}. The last lines of {self.log}:\n\n{written}")


@dataclass(frozen=True, slots=True)
class Service:
    """A program that stays, and when it counts as ready."""

    program: Program
    pid_file: Path
    """Says, after a hard death of ours, what is left to end."""
    ready: Callable[[], Awaitable[bool]]
    ready_seconds: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0


class Supervised:
    """A service that can be started, stopped, killed and started again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def exit_status(self) -> int | None:
        """Of its last run: None while it runs, negative for the signal that ended it."""
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        """Return when it is ready. Raises StackError with its last log lines if it dies or takes too long."""
        if self.pid is not None:
            return
        self._log_start = log_end(self._service.program.log)
        self._process = await self._service.program.spawn()
        write_pid(self._service.pid_file, self._process.pid)
        try:
            await self._until_ready(self._process)
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """End it politely, or by force when that takes too long."""
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(self._service.stop_signal)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._service.stop_seconds)
        await self.kill()

    async def kill(self) -> None:
        """End it at once, with its process group, as kill -9 does."""
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.wait_for(process.wait(), KILLED_SECONDS)
        self._service.pid_file.unlink(missing_ok=True)

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        ended = asyncio.ensure_future(process.wait())
        try:
            async with asyncio.timeout(self._service.ready_seconds):
                while not ended.done():
                    if await self._service.ready():
                        return
                    await asyncio.wait([ended], timeout=PROBE_SECONDS)
        except TimeoutError:
            raise self._failure(f"was not ready within {self._service.ready_seconds:.0f} s") from None
        finally:
            ended.cancel()
        raise self._failure(f"ended with exit status {process.returncode} before it was ready")

    def _failure(self, what: str) -> StackError:
        return self._service.program.failure(what, self._log_start)


def log_end(log: Path) -> int:
    """Where the next line will be written."""
    return log.stat().st_size if log.exists() else 0


def write_pid(file: Path, pid: int) -> None:
    """Note a process so that it can be told from a later one with the same number."""
    with suppress(psutil.NoSuchProcess):  # it may have died at once; whoever waits for it finds out
        file.write_text(f"{pid} {psutil.Process(pid).create_time()}")


def noted(file: Path) -> psutil.Process | None:
    """The process that the file notes, if it still runs."""
    try:
        pid, created = file.read_text().split()
        process = psutil.Process(int(pid))
        same = process.create_time() == float(created)
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def end_left_over(file: Path) -> None:
    """End a process that an earlier run, itself ended hard, left behind."""
    process = noted(file)
    if process is None:
        return
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=KILLED_SECONDS)
    file.unlink(missing_ok=True)
