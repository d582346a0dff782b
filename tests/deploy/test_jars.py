"""Jars are what the lock file says, or they are refused."""

import hashlib
from pathlib import Path

import pytest
from jgo.env import LockedDependency, LockFile

from deploy.local import jars
from deploy.local.failure import StackError

CONTENT = b"what was locked"


@pytest.fixture
def jar() -> LockedDependency:
    return LockedDependency("org.example", "thing", "1.0", sha256=hashlib.sha256(CONTENT).hexdigest())


def test_a_jar_that_is_there_and_whole_is_taken(jar: LockedDependency, tmp_path: Path) -> None:
    target = tmp_path / jars.file_name(jar)
    target.write_bytes(CONTENT)
    jars.provide(jar, target)
    assert target.read_bytes() == CONTENT


def test_a_broken_jar_is_named_with_both_hashes(jar: LockedDependency, tmp_path: Path) -> None:
    target = tmp_path / jars.file_name(jar)
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(StackError) as refused:
        jars.provide(jar, target)
    for told in (str(target), str(jar.sha256), hashlib.sha256(CONTENT[:-1]).hexdigest()):
        assert told in str(refused.value)


@pytest.mark.parametrize("name", ["neo4j", "graphiql"])
def test_every_locked_jar_has_a_hash_and_a_name_of_its_own(name: str) -> None:
    locked = LockFile.load(jars.LOCKS / name / jars.LOCK).dependencies
    assert all(len(jar.sha256 or "") == 64 for jar in locked)
    assert len({jars.file_name(jar) for jar in locked}) == len(locked) > 0
