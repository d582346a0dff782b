"""The file in which what is known survives a restart: statements in, rows out. One thread at a time may use it."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from services.traces import histograms

FORMAT = 100 + histograms.VERSION
"""Of the tables and of what is packed in them; a file of another one is not read."""
BUSY_SECONDS = 15.0
"""As long as the process before may take to end."""
BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# EXCLUSIVE: two processes must not both count. FULL: what was acknowledged outlives the machine's power, too.
PRAGMAS = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
"""
TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE latencies (start INTEGER, operation TEXT, histogram BLOB NOT NULL, PRIMARY KEY (start, operation));
CREATE TABLE sources (source TEXT PRIMARY KEY, sequence INTEGER NOT NULL);
CREATE TABLE traces (trace_id TEXT PRIMARY KEY, arrived REAL NOT NULL, content BLOB NOT NULL);
PRAGMA user_version = {FORMAT};
COMMIT;
"""
ANY_TABLE = "SELECT count(*) FROM sqlite_master"
SELECT_LATENCIES = "SELECT start, operation, histogram FROM latencies ORDER BY start"
SELECT_SOURCES = "SELECT source, sequence FROM sources ORDER BY rowid"  # REPLACE gives a new one: the latest come last
SELECT_TRACES = "SELECT trace_id, arrived, content FROM traces ORDER BY arrived"
PUT_LATENCY = "INSERT OR REPLACE INTO latencies (start, operation, histogram) VALUES (?, ?, ?)"
PUT_SOURCE = "INSERT OR REPLACE INTO sources (source, sequence) VALUES (?, ?)"
PUT_TRACE = "INSERT OR REPLACE INTO traces (trace_id, arrived, content) VALUES (?, ?, ?)"
DELETE_LATENCY = "DELETE FROM latencies WHERE start = ? AND operation = ?"
DELETE_SOURCE = "DELETE FROM sources WHERE source = ?"
DELETE_TRACE = "DELETE FROM traces WHERE trace_id = ?"

_Key: TypeAlias = tuple[int | str, ...]
_Row: TypeAlias = tuple[float | int | bytes, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What to write, by key; None deletes."""

    latencies: Mapping[tuple[int, str], bytes | None]
    sources: Mapping[str, int | None]
    traces: Mapping[str, tuple[float, bytes] | None]

    def __bool__(self) -> bool:
        return bool(self.latencies or self.sources or self.traces)


class UnusableFile(Exception):
    """It is broken, of another format, or not ours."""


class Store:
    """An open file. Its methods raise sqlite3.Error where the disk is full, gone or broken."""

    def __init__(self, file: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        """Raises UnusableFile, and sqlite3.Error where it cannot be opened at all."""
        self._connection = sqlite3.connect(file, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self.close()
            if _code(error) in BROKEN:
                raise UnusableFile(str(error)) from error
            raise
        except UnusableFile:
            self.close()
            raise

    def _prepare(self) -> None:
        self._connection.executescript(PRAGMAS)
        if self._one(ANY_TABLE) == 0:
            self._connection.executescript(TABLES)
        elif (found := self._one("PRAGMA user_version")) != FORMAT:
            raise UnusableFile(f"its format is {found}, not {FORMAT}")
        if (found := self._one("PRAGMA quick_check(1)")) != "ok":
            raise UnusableFile(str(found))

    def _one(self, statement: str) -> object:
        return self._connection.execute(statement).fetchone()[0]

    def latencies(self) -> Iterator[tuple[int, str, bytes]]:
        """Start of the window, operation and packed histogram, the oldest first."""
        return self._connection.execute(SELECT_LATENCIES)

    def sources(self) -> Iterator[tuple[str, int]]:
        """Each source with its highest sequence number, the one that reported last at the end."""
        return self._connection.execute(SELECT_SOURCES)

    def traces(self) -> Iterator[tuple[str, float, bytes]]:
        """Id, when it came, and packed content, the oldest first."""
        return self._connection.execute(SELECT_TRACES)

    def write(self, changes: Changes) -> None:
        """All of it or, where that fails, nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._write(PUT_LATENCY, DELETE_LATENCY, {key: _row(value) for key, value in changes.latencies.items()})
            self._write(PUT_SOURCE, DELETE_SOURCE, {(key,): _row(value) for key, value in changes.sources.items()})
            self._write(PUT_TRACE, DELETE_TRACE, {(key,): value for key, value in changes.traces.items()})
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _write(self, put: str, delete: str, rows: Mapping[_Key, _Row | None]) -> None:
        self._connection.executemany(put, [key + row for key, row in rows.items() if row is not None])
        self._connection.executemany(delete, [key for key, row in rows.items() if row is None])

    def close(self) -> None:
        """Nothing is lost without it; the next start is quicker."""
        self._connection.close()


def _row(value: bytes | int | None) -> _Row | None:
    return None if value is None else (value,)


def _code(error: sqlite3.Error) -> int:
    """Without what it adds to the plain code; 0 where Python itself complains."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
