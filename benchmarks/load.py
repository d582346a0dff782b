"""An open-loop HTTP load: requests are due at fixed moments, and latency counts from then, however late they are sent.

A closed loop waits for each answer before it asks again, and so does not see the requests that a stall would have hit
(coordinated omission). Here they queue, and their waiting is in the figures.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools
import orjson

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0


class Answer(NamedTuple):
    """How a request was answered."""

    number: int
    """Of the request: 0 is the first of the warm-up."""
    outcome: str
    """`ok`, `errors` for a 200 that carries GraphQL errors, the HTTP status, or the name of what was raised instead."""
    headers: Mapping[bytes, bytes]
    """Their names in small letters."""


def _nothing_more(_number: int) -> Mapping[str, str]:
    return {}


def _nobody(_answer: Answer) -> None:
    """Hears no answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask, how often a second, and for how long."""

    url: str
    query: str
    """Empty for a plain GET."""
    rate: float
    seconds: float
    warm_up_seconds: float = 2.0
    connections: int = 64
    token: str | None = None
    headers: Callable[[int], Mapping[str, str]] = _nothing_more
    """What a request says beside, by its number."""
    heard: Callable[[Answer], None] = _nobody
    """Is told every answer."""


@dataclass(slots=True)
class Outcome:
    """Latencies in seconds from the moment each request was due, and how the answers were."""

    latencies: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    elapsed: float = 0.0

    def percentile(self, percent: float) -> float:
        """The smallest latency with at least that percentage at or below it; NaN when there is none."""
        ordered = sorted(self.latencies)
        rank = -(-len(ordered) * percent // 100)
        return ordered[max(0, int(rank) - 1)] if ordered else float("nan")

    @property
    def errors(self) -> int:
        """Answers that were not a 200 with data alone."""
        return sum(count for answer, count in self.answers.items() if answer != "ok")


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self.headers: dict[bytes, bytes] = {}
        self._answer: asyncio.Future[str] | None = None
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(self, request: bytes) -> str:
        """`ok`, `errors` for a 200 that carries GraphQL errors, or the HTTP status."""
        self._answer = asyncio.get_running_loop().create_future()
        self._body.clear()
        self.headers = {}
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(_judge(status, b"".join(self._body)))

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the gateway closed the connection"))

    def close(self) -> None:
        self._transport.close()


def _judge(status: int, body: bytes) -> str:
    if status != 200:
        return str(status)
    return "errors" if b'"errors"' in body[:200] and "errors" in orjson.loads(body) else "ok"


def _requests(plan: Plan) -> Callable[[int], bytes]:
    """The bytes of each request, by its number."""
    parts = urlsplit(plan.url)
    body = orjson.dumps({"query": plan.query})
    authorization = f"Authorization: Bearer {plan.token}\r\n" if plan.token else ""
    if not plan.query:
        get = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        return lambda _: get
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{authorization}"
    )

    def request(number: int) -> bytes:
        beside = "".join(f"{name}: {value}\r\n" for name, value in plan.headers(number).items())
        return f"{head}{beside}\r\n".encode() + body

    return request


class _Pool:
    """Connections that are kept; one that broke is replaced when next asked for."""

    def __init__(self, plan: Plan) -> None:
        parts = urlsplit(plan.url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._free: asyncio.LifoQueue[_Connection | None] = asyncio.LifoQueue()
        for _ in range(plan.connections):
            self._free.put_nowait(None)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[_Connection]:
        connection: _Connection | None = await self._free.get()
        try:
            if connection is None or connection.closed:
                connection = await self._connect()
            yield connection
        except BaseException:
            if connection is not None:
                connection.close()
            connection = None
            raise
        finally:
            self._free.put_nowait(connection)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await loop.create_connection(_Connection, *self._address)
        return connection

    def close(self) -> None:
        while not self._free.empty():
            if connection := self._free.get_nowait():
                connection.close()


async def run(plan: Plan) -> Outcome:
    """Do the load; what is due in the warm-up is asked but not counted."""
    outcome, request, pool = Outcome(), _requests(plan), _Pool(plan)
    begin = time.perf_counter()
    counted_from, end = begin + plan.warm_up_seconds, begin + plan.warm_up_seconds + plan.seconds
    try:
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                due = begin + number / plan.rate
                if due >= end:
                    break
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                counted = outcome if due >= counted_from else Outcome()
                group.create_task(_ask(pool, request(number), number, due, counted, plan.heard))
        outcome.elapsed = time.perf_counter() - counted_from
    finally:
        pool.close()
    return outcome


async def saturate(plan: Plan) -> Outcome:
    """Ask on every connection again as soon as it has answered: what the gateway can do at most, `rate` aside."""
    outcome, request, pool = Outcome(), _requests(plan), _Pool(plan)
    numbers = itertools.count()
    begin = time.perf_counter()

    async def ask_again() -> None:
        while (now := time.perf_counter()) < begin + plan.seconds:
            number = next(numbers)
            await _ask(pool, request(number), number, now, outcome, plan.heard)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(plan.connections):
                group.create_task(ask_again())
        outcome.elapsed = time.perf_counter() - begin
    finally:
        pool.close()
    return outcome


async def _ask(
    pool: _Pool, request: bytes, number: int, due: float, outcome: Outcome, heard: Callable[[Answer], None]
) -> None:
    headers: Mapping[bytes, bytes] = {}
    try:
        async with pool.connection() as connection, asyncio.timeout(ANSWER_SECONDS):
            answer, headers = await connection.ask(request), connection.headers
    except (OSError, TimeoutError) as error:
        answer = type(error).__name__
    outcome.latencies.append(time.perf_counter() - due)
    outcome.answers[answer] += 1
    heard(Answer(number, answer, headers))
