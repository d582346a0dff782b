"""Where the parts of a stack are, and what each of our processes is told of the others."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import UUID

from deploy.local import graphiql, neo4j, postgres, valkey
from deploy.local.certificates import Certificates
from deploy.local.failure import StackError
from deploy.local.ports import HOST
from deploy.local.state import State
from services.runtime.tls import Tls

DEMO_ORGANIZATION = UUID("01980000-0000-7000-8000-000000000001")
SERVICES = ("auth", "agent_store", "vector_search", "graph", "traces")
IDENTITIES = (*SERVICES, "gateway", "cli")
"""Who can prove to auth that it is one of us."""
INHERITED = ("PATH", "HOME", "LANG", "TZ", "TRACING", "TRACE_LINK")
"""What our processes get from our own environment; a DATABASE_URL of the shell's must not reach them."""
OPENTELEMETRY = "OTEL_"
"""How the names of the variables begin that OpenTelemetry's SDK and we read; these are inherited, too."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a state folder's parts prove themselves with."""

    services: Mapping[str, str]
    """By identity: the services, the gateway, and the command line as `cli`."""
    valkey: str
    neo4j: str


class Addresses:
    """A stack as seen by whoever calls it: by the process that started it, or by another with the same state folder."""

    def __init__(self, state: State, ports: Mapping[str, int], encrypted: bool = False) -> None:
        self.state = state
        self.ports = ports
        self._certificates = Certificates(state) if encrypted else None

    @classmethod
    def of_running(cls, state: State) -> "Addresses":
        """Of the stack that uses the folder now. Raises StackError when none does."""
        running = state.running()
        if running is None:
            raise StackError(f"No stack runs in {state.path}. Start one with `neurectomy up`.")
        return cls(state, running["ports"], running["tls"])

    @cached_property
    def tls(self) -> Tls | None:
        """What whoever calls from here shows, the command line's own; None for a stack in plaintext."""
        return self._certificates.tls("cli") if self._certificates else None

    @property
    def targets(self) -> Mapping[str, str]:
        """Service -> host:port of its gRPC server."""
        return {name: f"{HOST}:{self.ports[name]}" for name in SERVICES}

    @property
    def gateway_url(self) -> str:
        """Without a path, for example http://127.0.0.1:4000."""
        return f"http://{HOST}:{self.ports['gateway']}"

    @property
    def traces_url(self) -> str:
        """The page of traces and blame, and where OTLP goes by HTTP."""
        return f"http://{HOST}:{self.ports['traces_http']}"

    @property
    def redis_url(self) -> str:
        """Valkey, with its password."""
        return valkey.url(self.secrets.valkey, self.ports["valkey"])

    @property
    def neo4j_url(self) -> str:
        """The user is `neo4j`, the password in `secrets`."""
        return neo4j.url(self.ports["neo4j"])

    @property
    def mail_folder(self) -> Path:
        """Where auth writes the mails that it would send elsewhere."""
        return self.state.path / "mail"

    def database_url(self, role: str) -> str:
        """The database for a role: a service's name, `neurectomy_owner` or `postgres`."""
        return postgres.url(role, self.state.secret(f"postgres.{role}"), self.ports["postgres"])

    @property
    def secrets(self) -> Secrets:
        """Made when the folder is new."""
        services = {name: self.state.secret(f"service.{name}") for name in IDENTITIES}
        return Secrets(services, self.state.secret("valkey"), self.state.secret("neo4j"))

    def environment(self, name: str) -> dict[str, str]:
        """What the process of that name reads."""
        inherited = {key: value for key, value in os.environ.items() if key in INHERITED or _is_opentelemetry(key)}
        return inherited | self._common(name) | self._own(name)

    def _common(self, name: str) -> dict[str, str]:
        return {
            "ENVIRONMENT": "local",
            "LISTEN": f"{HOST}:{self.ports[name]}",
            "LOG_LEVEL": "info",
            "LOG_FORMAT": "json",
            "AUTH_TARGET": self.targets["auth"],
            "REDIS_URL": self.redis_url,
            "SERVICE_SECRET": self.secrets.services[name],
            "TRACES_ENDPOINT": f"{'https' if self._certificates else 'http'}://{self.targets['traces']}",
            **(self._certificates.environment(name) if self._certificates else {}),
        }

    def _own(self, name: str) -> dict[str, str]:
        match name:
            case "auth":
                secrets = self.secrets.services.items()
                digests = {identity: hashlib.sha256(secret.encode()).hexdigest() for identity, secret in secrets}
                return {
                    "DATABASE_URL": self.database_url(name),
                    "ENCRYPTION_SECRET": self.state.secret("encryption"),
                    "SERVICE_CREDENTIALS": json.dumps(digests),
                    "ANONYMOUS_ORGANIZATION": str(DEMO_ORGANIZATION),
                    "MAIL_FOLDER": str(self.mail_folder),
                    "PUBLIC_URL": self.gateway_url,
                }
            case "agent_store" | "vector_search":
                return {"DATABASE_URL": self.database_url(name)}
            case "graph":
                return {
                    "NEO4J_URL": self.neo4j_url,
                    "NEO4J_USER": neo4j.USER,
                    "NEO4J_PASSWORD": self.secrets.neo4j,
                    "AGENT_STORE_TARGET": self.targets["agent_store"],
                }
            case "traces":
                page = {"HTTP_LISTEN": f"{HOST}:{self.ports['traces_http']}", "OPEN_PAGE": "true"}
                return {**page, "TRACES_FOLDER": str(self.state.path / name)}
            case "gateway":
                targets = {f"{service.upper()}_TARGET": target for service, target in self.targets.items()}
                page = {"GRAPHIQL_ASSETS": str(graphiql.page())}
                return {**targets, **page, "ANONYMOUS_ACCESS": "true"}
            case _:
                return {}


def _is_opentelemetry(key: str) -> bool:
    """OTEL_SERVICE_NAME would make one service of all."""
    return key.startswith(OPENTELEMETRY) and key != "OTEL_SERVICE_NAME"
