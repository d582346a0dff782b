"""Environment variables -> one frozen settings object; a wrong environment is refused whole, naming every bad key."""

import sys
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Protocol = Literal["grpc", "http/protobuf"]
Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]
PROPAGATORS = ({"tracecontext"}, {"tracecontext", "baggage"})
EXPORTERS = {"otlp", "console"}
Environment = Literal["local", "staging", "production"]
Port = Annotated[int, Field(ge=0, le=65535)]


class OpenTelemetrySettings(BaseSettings):
    """The variables of OpenTelemetry that this code must know; its SDK and exporters read the many others themselves.

    Headers, certificates, time-outs, compression, sizes of queues and batches and limits of spans are such.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    otel_sdk_disabled: bool = False
    otel_propagators: str = "tracecontext,baggage"
    otel_traces_sampler: Sampler = "parentbased_always_off"
    """For calls of strangers that do not ask for spans. By itself OpenTelemetry would record all of them."""
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    otel_traces_exporter: str | None = None
    """`otlp`, `console` or `none`, or several; without it `otlp` where an end point is given."""
    otel_logs_exporter: str = "none"
    """The same for log lines."""
    otel_exporter_otlp_endpoint: str | None = None
    """The user's own back end, beside the traces service, for example http://collector:4317."""
    otel_exporter_otlp_traces_endpoint: str | None = None
    otel_exporter_otlp_protocol: Protocol = "grpc"
    otel_exporter_otlp_traces_protocol: Protocol | None = None
    otel_exporter_otlp_logs_protocol: Protocol | None = None

    @property
    def traces_exporters(self) -> set[str]:
        """Where spans go beside the traces service."""
        given = self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint
        return _exporters(self.otel_traces_exporter or ("otlp" if given else "none"))

    @property
    def logs_exporters(self) -> set[str]:
        """Where log lines go beside the traces service."""
        return _exporters(self.otel_logs_exporter)

    @property
    def carries_baggage(self) -> bool:
        """Whether callers' baggage reaches callees."""
        return "baggage" in _names(self.otel_propagators)

    @field_validator("otel_propagators")
    @classmethod
    def _known_propagators(cls, value: str) -> str:
        if _names(value) not in PROPAGATORS:
            raise ValueError("must be `tracecontext`, by which our own processes find one another, or with `baggage`")
        return value

    @field_validator("otel_traces_exporter", "otel_logs_exporter")
    @classmethod
    def _known_exporters(cls, value: str | None) -> str | None:
        if value is not None and not _exporters(value) <= EXPORTERS:
            raise ValueError("must be `otlp`, `console` or `none`")
        return value


def _names(value: str) -> set[str]:
    return {name.strip() for name in value.split(",")} - {""}


def _exporters(value: str) -> set[str]:
    return _names(value) - {"none"}


class Settings(OpenTelemetrySettings):
    """What every process reads. Keys are the field names in upper case; secrets print as ***."""

    environment: Environment = "production"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    tracing: Literal["on", "off"] = "on"
    metrics_port: Port | None = None
    traces_endpoint: str | None = None
    """Where the traces service takes spans and log lines by OTLP over gRPC, for example http://traces:50055."""
    shutdown_grace_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0


class ServiceSettings(Settings):
    """What every gRPC service reads."""

    listen: str = "127.0.0.1:0"
    """host:port; port 0 takes a free one."""
    auth_target: str
    """Where the auth service listens, as a gRPC target such as `dns:///auth:50051`."""
    service_secret: SecretStr
    """What this service proves its own identity with, for work that no caller asked for."""
    redis_url: SecretStr | None = None
    """redis://host:6379/0, where revocations are heard of; without it auth is asked about each token every 30 s."""


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
