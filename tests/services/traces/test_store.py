"""A file that is written whole or not at all, and not read when it is not ours."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.traces.store import FORMAT, Changes, Store, UnusableFile

FIRST = Changes({(10, "a"): b"1", (20, "b"): b"2"}, {"one": 1, "two": 7}, {"t1": (5.0, b"x"), "t2": (4.0, b"y")})
THEN = Changes({(10, "a"): None, (20, "b"): b"3"}, {"one": 2}, {"t2": None})


def _content(store: Store) -> tuple[list[object], list[object], list[object]]:
    return list(store.latencies()), list(store.sources()), list(store.traces())


def test_what_is_written_is_there_for_the_next_one(tmp_path: Path) -> None:
    for changes, expected in (
        (FIRST, ([(10, "a", b"1"), (20, "b", b"2")], [("one", 1), ("two", 7)], [("t2", 4.0, b"y"), ("t1", 5.0, b"x")])),
        (THEN, ([(20, "b", b"3")], [("two", 7), ("one", 2)], [("t1", 5.0, b"x")])),
    ):
        store = Store(tmp_path / "file")
        store.write(changes)
        store.close()
        store = Store(tmp_path / "file")
        assert _content(store) == expected
        store.close()


def test_what_cannot_be_written_whole_is_not_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "file")
    store.write(FIRST)
    before = _content(store)
    with pytest.raises((sqlite3.Error, OverflowError)):
        store.write(Changes({(20, "b"): b"3"}, {"one": 2}, {"t3": (1.0, None)}))  # type: ignore[dict-item]
    assert _content(store) == before
    store.write(THEN)
    store.close()


def _damage(file: Path) -> None:
    """Overwrite all but the first page."""
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def _foreign(file: Path) -> None:
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE somebody (else_ TEXT)")
    connection.close()


def _newer(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()


UNUSABLE = {
    "no database": lambda file: file.write_bytes(b"nothing that a database begins with" * 500),
    "damaged": _damage,
    "of someone else": _foreign,
    "of another format": _newer,
}


@pytest.mark.parametrize("spoil", UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_not_ours_is_not_read(tmp_path: Path, spoil: object) -> None:
    file = tmp_path / "file"
    store = Store(file)
    store.write(FIRST)
    store.close()
    assert callable(spoil)
    spoil(file)
    with pytest.raises(UnusableFile):
        Store(file)


def test_two_do_not_write_one_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "file")
    store.write(FIRST)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        Store(tmp_path / "file", busy_seconds=0.1)
    store.close()


def test_whoever_comes_next_waits_for_the_one_before(tmp_path: Path) -> None:
    before = Store(tmp_path / "file")
    before.write(FIRST)
    with ThreadPoolExecutor(1) as thread:
        after = thread.submit(Store, tmp_path / "file")
        before.write(THEN)
        before.close()
        store = after.result()
    assert list(store.traces()) == [("t1", 5.0, b"x")]
    store.close()
