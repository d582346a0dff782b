"""What the traces process reads from its environment."""

from typing import Annotated

from pydantic import Field

from services.runtime.settings import ServiceSettings


class TracesSettings(ServiceSettings):
    """See the fields."""

    kept_spans: Annotated[int, Field(ge=1_000, le=10_000_000)] = 200_000
    """How many spans of kept traces are held; the newest win. About 500 bytes each."""
    latency_hours: Annotated[float, Field(gt=0, le=24)] = 1.0
    """How far back blame can look."""
