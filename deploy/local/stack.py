"""The whole system on this machine, as one asynchronous context manager."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from asyncpg import PostgresError

from deploy.local import graphiql, jars, neo4j, postgres, services, valkey
from deploy.local.addresses import IDENTITIES, Addresses
from deploy.local.certificates import Authority
from deploy.local.failure import StackError
from deploy.local.order import Needs, closure, in_order, reverse
from deploy.local.ports import FIXED_PORTS, FREE_PORTS, PART_OF, require_free, settle
from deploy.local.processes import Service, Supervised, end_left_over
from deploy.local.state import State, require_room
from services.runtime.postgres import migrate

NEEDS: Needs = {
    "neo4j": (),  # first, as it takes longest
    "postgres": (),
    "valkey": (),
    "graphiql": (),
    "migrations": ("postgres",),
    "auth": ("migrations", "valkey"),
    "agent_store": ("auth",),
    "vector_search": ("auth",),
    "traces": ("auth",),
    "graph": ("auth", "agent_store", "neo4j"),
    "gateway": ("valkey", "graphiql", "agent_store", "vector_search", "traces"),
}
ENDS: Needs = {**NEEDS, "gateway": (*NEEDS["gateway"], "graph")}
"""The gateway need not wait for the graph, which waits for Neo4j; but it ends before it, as before all it calls."""
STORES = ("postgres", "valkey", "neo4j")

Report = Callable[[str, str], None]
"""Gets a step and what it does now: `starting`, `ready`, `stopping`, `stopped`, or some detail."""


def say_nothing(_step: str, _state: str) -> None:
    """The Report of whoever does not watch."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What may differ between stacks."""

    state: Path
    ports: Mapping[str, int] = field(default_factory=lambda: FIXED_PORTS)
    """By part, as in FIXED_PORTS; 0 takes a free one."""
    parts: Sequence[str] = tuple(NEEDS)
    """What to start, with what that needs; STORES for the stores alone."""
    extra_environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By process: variables that are added to its own or replace them."""
    report: Report = say_nothing
    tls: bool = False
    """Whether our processes speak mTLS with each other, by an authority of this run alone."""

    @classmethod
    def for_tests(cls, state: Path, parts: Sequence[str] = tuple(NEEDS)) -> "StackOptions":
        """On free ports. Tests come from one address, and register and log in a lot."""
        limits = dict.fromkeys(("ATTEMPTS_PER_ADDRESS", "DEEDS_PER_ADDRESS"), "100000")
        many = {**limits, "PASSWORD_PROFILE": "owasp-minimum"}
        return cls(state, ports=FREE_PORTS, parts=parts, extra_environment={"auth": many})


class Stack(Addresses):
    """PostgreSQL, Valkey, Neo4j, five services and the gateway: up inside the `async with`, gone after it."""

    def __init__(self, options: StackOptions) -> None:
        super().__init__(State(options.state), settle({**FIXED_PORTS, **options.ports}), options.tls)
        self._options = options
        self._report = options.report
        self._parts = closure(NEEDS, options.parts)
        self._processes: dict[str, Supervised] = {}
        self._resources = AsyncExitStack()
        self._authority: Authority | None = None

    async def __aenter__(self) -> Self:
        """Start everything. Raises StackError, with nothing left running, when something does not start."""
        async with AsyncExitStack() as resources:
            resources.enter_context(self.state.locked({"ports": self.ports, "tls": self._options.tls}))
            self._require_a_clear_field()
            self._certify()
            resources.push_async_callback(self._stop_all)
            await in_order(self._parts, self._begin)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.__aexit__(kind, error, trace)

    @property
    def pids(self) -> Mapping[str, int]:
        """By name, of those that run."""
        return {name: process.pid for name, process in self._processes.items() if process.pid is not None}

    def ended(self) -> Sequence[str]:
        """What was started and does not run."""
        return [name for name, process in self._processes.items() if process.pid is None]

    def exit_status(self, name: str) -> int | None:
        """What a process ended with; None while it runs."""
        return self._processes[name].exit_status

    async def start(self, name: str) -> None:
        """Start a process again, on the same port, and wait until it is ready."""
        await self._processes[name].start()

    async def stop(self, name: str) -> None:
        """End a process politely."""
        await self._processes[name].stop()

    async def kill(self, name: str) -> None:
        """End a process by SIGKILL."""
        await self._processes[name].kill()

    def environment(self, name: str) -> dict[str, str]:
        """What the process of that name is given."""
        return super().environment(name) | dict(self._options.extra_environment.get(name, {}))

    def renew_certificate(self, name: str) -> None:
        """Another one for a process, by the same authority, which a running one takes up by itself."""
        if self._certificates is None or self._authority is None:
            raise StackError("A stack in plaintext has no certificates.")
        self._certificates.renew(self._authority, name, datetime.now(UTC))

    def _certify(self) -> None:
        if self._certificates is not None:
            self._authority = self._certificates.begin(IDENTITIES, datetime.now(UTC))

    def _require_a_clear_field(self) -> None:
        """What an earlier run left behind when it was ended hard is ended; what is not ours is said."""
        require_room(self.state.path)
        for file in self.state.folder("run").glob("*.pid"):
            end_left_over(file)
        for name, port in self.ports.items():
            if PART_OF.get(name, name) in self._parts:
                require_free(name, port)

    async def _begin(self, step: str) -> None:
        self._report(step, "starting")
        match step:
            case "graphiql":
                await graphiql.fetch_page(partial(self._report_jars, step))
            case "migrations":
                await self._migrate()
            case _:
                await self._begin_process(step)
        self._report(step, "ready")

    async def _begin_process(self, name: str) -> None:
        service = await self._prepare(name)
        self._processes[name] = Supervised(service)
        await self._processes[name].start()

    async def _prepare(self, name: str) -> Service:
        port = self.ports[name]
        match name:
            case "postgres":
                return await postgres.prepare(self.state, port)
            case "valkey":
                return valkey.prepare(self.state, port)
            case "neo4j":
                folder = await jars.fetch(name, partial(self._report_jars, name))
                return await neo4j.prepare(self.state, port, folder)
            case _:
                return services.service(self.state, name, port, self.environment(name), self.tls)

    async def _migrate(self) -> None:
        await postgres.prepare_database(self.state, self.ports["postgres"])
        for schema in postgres.SCHEMAS:
            try:
                await migrate(self.database_url(postgres.OWNER), schema, services.migrations(schema))
            except (ValueError, PostgresError) as error:
                raise StackError(f"The migrations of {schema} cannot be applied: {error}.") from error

    async def _stop_all(self) -> None:
        await in_order(reverse({name: ENDS[name] for name in self._parts}), self._end)

    async def _end(self, step: str) -> None:
        if process := self._processes.get(step):
            self._report(step, "stopping")
            await process.stop()
            self._report(step, "stopped")

    def _report_jars(self, step: str, done: int, of: int) -> None:
        self._report(step, f"{done} of {of} jars")
