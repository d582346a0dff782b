"""What the traces process reads from its environment."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.runtime.settings import ServiceSettings

MB = 1_000_000


class TracesSettings(ServiceSettings):
    """See the fields."""

    traces_folder: Path | None = None
    """Where what is known survives a restart. Unset, it is in memory only."""
    kept_mb: Annotated[int, Field(ge=1, le=100_000)] = 64
    """How many megabytes of kept traces and their log lines are held; the newest win."""
    kept_hours: Annotated[float, Field(gt=0, le=24 * 366)] = 24.0
    """For how long a kept trace is held at most."""
    latency_mb: Annotated[int, Field(ge=1, le=100_000)] = 64
    """How many megabytes of latencies are held; the newest win. An operation's ten seconds are 1 to 10 KB."""
    latency_hours: Annotated[float, Field(gt=0, le=24 * 366)] = 24.0
    """How far back blame can look at most."""
