"""Logging in, measured: whether its time tells who has an account, and what it leaves to everyone else.

Both talk to the running stack with its limits as they are: auth is called as the gateway calls it, vouching for another
client address each time, and the accounts are enough for none to be held up.
"""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from secrets import randbits
from uuid import uuid4

import grpc
from rich.table import Table

from benchmarks.load import Outcome, Plan, run
from deploy.local.addresses import Addresses
from neurectomy.auth.v1 import auth_pb2 as pb
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.runtime.channels import OPTIONS, Pairs, ServiceIdentity, no_token, traced

PER_ACCOUNT = 15
"""Fewer than an account's free attempts."""
RESAMPLES = 1_000
WRONG, RIGHT = "this is not the password", "this is the password, really"
DOCUMENTATION_NETWORK = int(IPv6Address("2001:db8::"))


class Failed(Exception):
    """A log-in ended otherwise than it should have."""


class Callers:
    """Calls auth as the gateway does for its clients, each time for one at another address."""

    def __init__(self, channel: grpc.aio.Channel, secret: str) -> None:
        self._identity = ServiceIdentity(traced(channel, no_token), "gateway", secret)
        self._auth = AuthServiceStub(traced(channel, no_token, self._vouched))

    async def _vouched(self) -> Pairs:
        address = IPv6Address(DOCUMENTATION_NETWORK + (randbits(32) << 64))
        return ("client-address", str(address)), ("client-voucher", await self._identity.token() or "")

    async def register(self) -> str:
        """A new account's e-mail address."""
        email = f"benchmark-{uuid4()}@example.org"
        request = pb.RegisterRequest(email=email, password=RIGHT, display_name="B", organization_name="Benchmark")
        await self._auth.Register(request)
        return email

    async def log_in(self, email: str, password: str) -> float:
        """How long it took, in seconds, whether it was let in or not. Raises Failed when it was not judged."""
        begin = time.perf_counter()
        try:
            await self._auth.LogIn(pb.LogInRequest(email=email, password=password))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise Failed(f"a log-in ended with {error.code().name}: {error.details()}") from error
        return time.perf_counter() - begin


@asynccontextmanager
async def callers(addresses: Addresses) -> AsyncIterator[Callers]:
    """For a running stack."""
    async with grpc.aio.insecure_channel(addresses.targets["auth"], options=OPTIONS) as channel:
        yield Callers(channel, addresses.secrets.services["gateway"])


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of each attempt with a wrong password, by turns."""

    known: list[float] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)

    @property
    def difference(self) -> float:
        """By how much the medians differ, as a part of that of unknown accounts."""
        return statistics.median(self.known) / statistics.median(self.unknown) - 1

    def interval(self) -> tuple[float, float]:
        """Where that lies, with 95 % confidence, by resampling pairs of neighbours."""
        draw, pairs = random.Random(0), list(zip(self.known, self.unknown, strict=True))
        found = sorted(_of(draw.choices(pairs, k=len(pairs))).difference for _ in range(RESAMPLES))
        return found[len(found) // 40], found[-1 - len(found) // 40]


def _of(pairs: list[tuple[float, float]]) -> Timings:
    return Timings([known for known, _ in pairs], [unknown for _, unknown in pairs])


async def compare(addresses: Addresses, attempts: int) -> Timings:
    """Log in with wrong passwords: to an account and to none, to none and to an account, and so on."""
    timings, accounts = Timings(), -(-attempts // PER_ACCOUNT)
    async with callers(addresses) as each:
        known = [await each.register() for _ in range(accounts)]
        unknown = [f"benchmark-{uuid4()}@example.org" for _ in range(accounts)]
        pairs = list(zip(known, unknown, strict=True))
        await each.log_in(known[0], WRONG), await each.log_in(unknown[0], WRONG)  # the first call opens connections
        for number, (one, other) in enumerate((pairs * PER_ACCOUNT)[:attempts]):
            turns = ((one, timings.known), (other, timings.unknown))
            for email, times in turns if number % 2 else reversed(turns):
                times.append(await each.log_in(email, WRONG))
    return timings


@dataclass(frozen=True, slots=True)
class Beside:
    """GET /health, and the log-ins that went on meanwhile."""

    health: Outcome
    alone: Outcome
    """Before, without any log-in."""
    log_ins: list[float]


async def health_beside(addresses: Addresses, at_once: int, rate: float, seconds: float) -> Beside:
    """Ask for /health at a fixed rate, first alone, and then while so many log-ins are always in progress."""
    plan = Plan(f"{addresses.gateway_url}/health", "", rate, seconds)
    async with callers(addresses) as each:
        emails = [await each.register() for _ in range(at_once)]
        alone, log_ins = await run(plan), list[float]()
        busy = [asyncio.create_task(_again_and_again(each, email, log_ins)) for email in emails]
        try:
            health = await run(plan)
        finally:
            for task in busy:
                task.cancel()
        for ended in await asyncio.gather(*busy, return_exceptions=True):
            if isinstance(ended, Failed):
                raise ended
    return Beside(health, alone, log_ins)


async def _again_and_again(each: Callers, email: str, log_ins: list[float]) -> None:
    while True:
        log_ins.append(await each.log_in(email, RIGHT))


def comparison_table(timings: Timings) -> Table:
    """Both, and how they differ."""
    table = Table(title="log-in with a wrong password, in ms", title_justify="left")
    for column in ("", "attempts", "P5", "median", "P95"):
        table.add_column(column, justify="right" if column else "left")
    for name, times in (("known account", timings.known), ("unknown account", timings.unknown)):
        ordered = sorted(times)
        shown = ordered[len(ordered) // 20], statistics.median(ordered), ordered[-1 - len(ordered) // 20]
        figures = (f"{1_000 * value:.2f}" for value in shown)
        table.add_row(name, str(len(ordered)), *figures)
    low, high = timings.interval()
    table.caption = f"the medians differ by {timings.difference:+.2%}, with 95 % confidence {low:+.2%} to {high:+.2%}"
    return table


def beside_table(beside: Beside, at_once: int) -> Table:
    """Latencies from the moment each request was due."""
    table = Table(title=f"GET /health beside {at_once} log-ins at once, in ms", title_justify="left")
    for column in ("", "requests", "not ok", "P50", "P99", "worst"):
        table.add_column(column, justify="right" if column else "left")
    for name, outcome in (("no log-in", beside.alone), ("log-ins", beside.health)):
        figures = (f"{1_000 * outcome.percentile(percent):.2f}" for percent in (50.0, 99.0, 100.0))
        table.add_row(name, str(len(outcome.latencies)), str(outcome.errors), *figures)
    median = statistics.median(beside.log_ins) if beside.log_ins else float("nan")
    table.caption = f"{len(beside.log_ins)} log-ins meanwhile, median {1_000 * median:.0f} ms"
    return table
