"""The state folder: one stack at a time, secrets of its own, room to write."""

import os
import stat
from pathlib import Path

import pytest

from deploy.local.failure import StackError
from deploy.local.state import State, require_room


def test_a_second_stack_is_told_of_the_first(tmp_path: Path) -> None:
    with State(tmp_path).locked({"ports": {"gateway": 4000}}):
        assert State(tmp_path).running() == {"pid": os.getpid(), "ports": {"gateway": 4000}}
        with pytest.raises(StackError, match=f"process {os.getpid()}.*--state"), State(tmp_path).locked({}):
            pass
    assert State(tmp_path).running() is None


def test_secrets_stay_and_are_the_owners_alone(tmp_path: Path) -> None:
    first = {name: State(tmp_path).secret(name) for name in ("one", "two")}
    assert first == {name: State(tmp_path).secret(name) for name in ("one", "two")}
    assert first["one"] != first["two"]
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_a_nearly_full_disk_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="nearly full"):
        require_room(tmp_path, needed=2**60)
