"""The state folder: data, logs, secrets and the lock that says one stack uses it."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy.local.failure import StackError

NEEDED_BYTES = 512 * 1024**2
"""What a first start and a day of work write. A cold start takes about 100 MB, the jar cache another 140."""
SECRET_BYTES = 24


class State:
    """A folder that holds everything a local stack keeps."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def folder(self, name: str) -> Path:
        """A folder in it, made when it is not there."""
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self.folder("logs") / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        """Where a process is noted."""
        return self.folder("run") / f"{name}.pid"

    def secret(self, name: str) -> str:
        """A random password, the same for the life of the folder."""
        if name not in self._secrets:
            self._secrets[name] = secrets.token_hex(SECRET_BYTES)
            write_private(self.path / "secrets.json", json.dumps(self._secrets, indent=2))
        return self._secrets[name]

    @cached_property
    def _secrets(self) -> dict[str, str]:
        file = self.path / "secrets.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    @contextlib.contextmanager
    def locked(self, about: Mapping[str, Any]) -> Iterator[None]:
        """Keep other stacks out, and tell them about this one. Raises StackError when another runs."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(self._taken()) from None
            write_private(self.path / "stack.json", json.dumps({"pid": os.getpid(), **about}))
            try:
                yield
            finally:
                (self.path / "stack.json").unlink(missing_ok=True)

    def running(self) -> dict[str, Any] | None:
        """What the stack that uses the folder says about itself; None when no stack does."""
        try:
            with (self.path / "lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            about = self.path / "stack.json"
            return dict(json.loads(about.read_text())) if about.exists() else {}
        return None

    def _taken(self) -> str:
        running = self.running() or {}
        return (
            f"{self.path} is in use by another stack (process {running.get('pid', 'unknown')}). "
            "End that one with `neurectomy down`, or give this one a folder of its own with --state."
        )


def require_room(folder: Path, needed: int = NEEDED_BYTES) -> None:
    """Raise StackError when the disk is about to be full: stores that cannot write fail in ways that hide why."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StackError(
            f"The disk of {folder} is nearly full: {free // 1024**2} MB are free, {needed // 1024**2} MB are needed. "
            "Make room, or choose another disk with --state."
        )


def write_private(file: Path, text: str) -> None:
    """Write whole or not at all, readable by the owner only."""
    new = file.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    new.replace(file)
