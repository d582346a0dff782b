"""Environment variables -> one frozen settings object; a wrong environment is refused whole, naming every bad key."""

import sys
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.tls import Tls

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


class TlsSettings(BaseSettings):
    """With these, all gRPC of ours is mTLS, on both sides; without them it is plaintext. The files may be replaced."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    tls_certificate: Path | None = None
    """PEM: this process's own, for servers and for clients, with the chain up to the authority."""
    tls_key: Path | None = None
    """PEM, RSA or elliptic curve, without a password."""
    tls_authority: Path | None = None
    """PEM: who certifies all processes of ours, and nobody else's. Several while one takes the other's place."""

    @cached_property
    def tls(self) -> Tls | None:
        """None for plaintext."""
        files = {key.upper(): getattr(self, key) for key in TlsSettings.model_fields}
        missing = [key for key, file in files.items() if file is None]
        if missing and len(missing) < len(files):
            raise ValueError(f"{', '.join(files)} belong together; not set: {', '.join(missing)}")
        return None if missing else Tls(*files.values())

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        self.tls  # noqa: B018 - raises what is wrong with the files
        return self


class Settings(OpenTelemetrySettings, TlsSettings):
    """What every process reads. Keys are the field names in upper case; secrets print as ***."""

    environment: Environment = "production"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    tracing: Literal["on", "off"] = "on"
    metrics_port: Port | None = None
    traces_endpoint: str | None = None
    """Where the traces service takes spans and log lines by OTLP over gRPC, for example http://traces:50055.

    https:// with the own certificate where TLS_CERTIFICATE is set.
    """
    shutdown_grace_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0

    @model_validator(mode="after")
    def _no_plaintext_beside_tls(self) -> Self:
        if self.tls and not (self.traces_endpoint or "https://").startswith("https://"):
            raise ValueError("TRACES_ENDPOINT must begin with https:// where TLS_CERTIFICATE is set")
        return self


class ServiceSettings(Settings):
    """What every gRPC service reads."""

    listen: str = "127.0.0.1:0"
    """host:port; port 0 takes a free one."""
    auth_target: str
    """Where the auth service listens, as a gRPC target such as `dns:///auth:50051`."""
    service_secret: SecretStr
    """What this service proves its own identity with, for work that no caller asked for."""
    health_listen: str | None = None
    """host:port of a second server that answers gRPC health checks only, in plaintext: for probes that have no
    certificate to show. None without it."""
    redis_url: SecretStr | None = None
    """redis://host:6379/0, where revocations are heard of; without it auth is asked about each token every 30 s."""


S = TypeVar("S", bound=BaseSettings)


def load(kind: type[S]) -> S:
    """The process's settings, or exit status 2 after a line for each bad key."""
    try:
        return kind()
    except ValidationError as error:
        lines = [
            f"  {_key(problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False)
        ]
        sys.stderr.write("The environment is not right:\n" + "\n".join(lines) + "\n")
        raise SystemExit(2) from None


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location).upper() or "(together)"
