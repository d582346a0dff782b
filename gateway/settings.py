"""What the gateway reads from its environment."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from gateway.limits import Limits
from services.runtime.settings import ServiceSettings

Seconds = Annotated[float, Field(gt=0, le=3_600)]
Count = Annotated[int, Field(ge=1)]


class GatewaySettings(ServiceSettings):
    """See the fields."""

    listen: str = "127.0.0.1:4000"
    agent_store_target: str
    vector_search_target: str
    graph_target: str
    traces_target: str
    redis_url: SecretStr
    """Where the agent store's events are read from."""
    graphiql_assets: Path | None = None
    """The folder with GraphiQL's and React's files; there is no GraphiQL without it."""
    anonymous_access: bool = False
    """Callers without a token read the organization that auth names for it. Not in production."""

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of the proxies that are believed when they say whom they speak for, as a JSON list: ["10.0.0.0/8"]."""
    trusted_proxy_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    """Where they say it. They must add to it, or replace what a client sent in it."""

    request_seconds: Seconds = 10.0
    """What one operation may take, with everything that it calls."""
    document_cache_tokens: Count = 100_000
    """Parsed and validated documents are kept up to this many tokens in all, of some 600 bytes each."""

    max_body_bytes: Count = 4 * 1024 * 1024
    max_document_characters: Count = 100_000
    max_tokens: Count = 1_000
    max_depth: Count = 15
    max_aliases: Count = 30
    max_root_fields: Count = 20
    max_cost: Count = 50_000

    socket_init_seconds: Seconds = 10.0
    """How long a new WebSocket may wait with its `connection_init`."""
    max_socket_operations: Count = 100
    """Operations at once on one WebSocket."""
    max_queued_changes: Count = 256
    """How far behind a subscriber may fall before its subscription is ended."""

    def targets(self) -> Mapping[str, str]:
        """Service name -> gRPC target."""
        return {
            "auth": self.auth_target,
            "agent_store": self.agent_store_target,
            "vector_search": self.vector_search_target,
            "graph": self.graph_target,
            "traces": self.traces_target,
        }

    def limits(self) -> Limits:
        """The bounds of one request."""
        return Limits(
            body_bytes=self.max_body_bytes,
            document_characters=self.max_document_characters,
            tokens=self.max_tokens,
            depth=self.max_depth,
            aliases=self.max_aliases,
            root_fields=self.max_root_fields,
            cost=self.max_cost,
        )

    @model_validator(mode="after")
    def _no_anonymous_production(self) -> Self:
        if self.anonymous_access and self.environment == "production":
            raise ValueError("ANONYMOUS_ACCESS must not be set with ENVIRONMENT=production")
        return self
