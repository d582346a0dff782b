"""What the traces process reads from its environment."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

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

    http_listen: str | None = None
    """host:port of the page, its API and OTLP over HTTP; none of them without it."""
    open_page: bool = False
    """Who is on this machine reads without a token. Not in production."""
    trace_link: Annotated[str, Field(pattern=r"^(https?://.*\{trace_id\}.*)?$")] = ""
    """Your own viewer's address of a trace, such as `https://jaeger.example/trace/{trace_id}`; the page links to it."""

    @model_validator(mode="after")
    def _no_open_production(self) -> Self:
        if self.open_page and self.environment == "production":
            raise ValueError("OPEN_PAGE must not be set with ENVIRONMENT=production")
        return self
