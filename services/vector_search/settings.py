"""What the vector search process reads from its environment."""

from typing import Annotated

from pydantic import Field, SecretStr

from services.runtime.settings import ServiceSettings


class VectorSearchSettings(ServiceSettings):
    """See the fields."""

    database_url: SecretStr
    index_threshold: Annotated[int, Field(ge=1_000)] = 10_000
    """From how many points on a collection has an index. Below, comparing them all is fast enough, and exact."""
    embedding_threads: Annotated[int, Field(ge=1, le=64)] = 1
    """How many cores the built-in model uses for one batch of texts."""
    embedding_cache_size: Annotated[int, Field(ge=0)] = 4_096
    """Of how many queries the embeddings are remembered, at about two kilobytes each."""
