"""Environment variables -> one frozen settings object; a wrong environment is refused whole, naming every bad key."""

import sys
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

Environment = Literal["local", "staging", "production"]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """What every process reads. Keys are the field names in upper case; secrets print as ***."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    environment: Environment = "production"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    tracing: Literal["on", "off"] = "on"
    metrics_port: Port | None = None
    otel_exporter_otlp_endpoint: str | None = None
    """Where kept traces go by OTLP over gRPC, beside the traces service, for example http://collector:4317."""
    shutdown_grace_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0


class ServiceSettings(Settings):
    """What every gRPC service reads."""

    listen: str = "127.0.0.1:0"
    """host:port; port 0 takes a free one."""
    auth_target: str
    """Where the auth service listens, as a gRPC target such as `dns:///auth:50051`."""
    service_secret: SecretStr
    """What this service proves its own identity with, for work that no caller asked for."""


S = TypeVar("S", bound=Settings)


def load(kind: type[S]) -> S:
    """The process's settings, or exit status 2 after a line for each bad key."""
    try:
        return kind()
    except ValidationError as error:
        lines = [f"  {_key(problem['loc'])}: {problem['msg']}" for problem in error.errors(include_input=False)]
        sys.stderr.write("The environment is not right:\n" + "\n".join(lines) + "\n")
        raise SystemExit(2) from None


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location).upper() or "(together)"
