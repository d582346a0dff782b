"""Suites of micro benchmarks: each is a program of pyperf, whose measured rows are read back and shown."""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyperf
from rich.table import Table

from benchmarks.micro import auth

SUITES: Mapping[str, Mapping[str, float]] = {"auth": auth.LIMITS}
"""Name -> the seconds that its rows may take at most."""
UNITS = (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0))


def run(name: str) -> Table:
    """Measure a suite in processes of its own. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "suite.json"
        command = [sys.executable, "-m", f"benchmarks.micro.{name}", "--quiet", "-o", str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own module
        suite = pyperf.BenchmarkSuite.load(str(file))
    return _table(name, suite)


def _table(name: str, suite: pyperf.BenchmarkSuite) -> Table:
    table = Table(title=f"micro {name}\n{_machine(suite)}", title_justify="left")
    for heading in ("", "median", "spread", "least", "at most"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in suite.get_benchmarks():
        table.add_row(*_row(row, SUITES[name].get(row.get_name())))
    return table


def _row(row: pyperf.Benchmark, limit: float | None) -> tuple[str, ...]:
    """The spread is the median distance from the median: half of all values are nearer."""
    values, median = row.get_values(), row.median()
    spread = statistics.median(abs(value - median) for value in values)
    allowed = f"{_time(limit)}{'' if median <= limit else '  MISSED'}" if limit else ""
    return row.get_name(), _time(median), f"± {spread / median:.0%}", _time(min(values)), allowed


def _time(seconds: float) -> str:
    unit, size = next((each for each in UNITS if seconds < 1_000 * each[1]), UNITS[-1])
    return f"{seconds / size:,.1f} {unit}"


def _machine(suite: pyperf.BenchmarkSuite) -> str:
    """What the figures are good for only together with."""
    metadata = suite.get_metadata()
    processor = metadata.get("cpu_model_name", platform.machine())
    place = f"{processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{place}, Python {platform.python_version()}, commit {_commit()}"


def _commit() -> str:
    folder = Path(__file__).parents[2]
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude", "*"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no caller's text
    return told.stdout.strip() or "unknown"
