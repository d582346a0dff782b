"""Latencies by operation, on their way to the traces service: added up here, sent every second, counted once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import msgspec
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from uuid_utils import uuid4

from neurectomy.traces.v1 import traces_pb2 as pb
from services.runtime.background import in_background
from services.runtime.errors import DomainError
from services.traces.histograms import Histogram
from services.traces.population import Request

if TYPE_CHECKING:
    from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceAsyncStub

SECONDS = 1.0
TIMEOUT_SECONDS = 2.0
WINDOW_SECONDS = 10
MAX_WINDOWS = 30
MAX_OPERATIONS = 1_000
OTHERS = "other operations"

REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
"""Of a report that is not understood, or too large: it would be so for ever, and all others wait behind it."""

log = structlog.get_logger()


class Reports:
    """Bounded: the oldest windows that could not be sent are given up, and too many operations are taken together.

    A report that is refused is given up, too.
    """

    def __init__(self, traces: "TracesServiceAsyncStub", clock: Callable[[], float] = time.time) -> None:
        self._traces = traces
        self._clock = clock
        self._source = str(uuid4())
        self._sequence = 0
        self._unsent: pb.ReportLatencyRequest | None = None
        self._failing = False
        self._windows: dict[int, dict[str, Histogram]] = {}

    def add(self, operation: str, request: Request) -> None:
        """Count one more request of an operation."""
        start = int(self._clock()) // WINDOW_SECONDS * WINDOW_SECONDS
        window = self._windows.get(start)
        if window is None:
            window = self._windows[start] = {}
            self._give_up_oldest()
        if operation not in window and len(window) >= MAX_OPERATIONS:
            operation = OTHERS
        histogram = window.get(operation)
        if histogram is None:
            histogram = window[operation] = Histogram()
        histogram.add(request)

    def _give_up_oldest(self) -> None:
        if len(self._windows) > MAX_WINDOWS:
            log.warning("latencies are lost: the traces service has not answered for long")
            del self._windows[next(iter(self._windows))]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Report in the background, and what is left at the end."""
        try:
            async with in_background(self._run()):
                yield
        finally:
            await self.send()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            await self.send()

    async def send(self) -> None:
        """Send all there is, a window at a time, up to the first failure. What failed is sent again as it was."""
        while self._unsent or self._windows:
            report = self._unsent = self._unsent or self._next()
            try:
                await self._traces.ReportLatency(report, timeout=TIMEOUT_SECONDS)
            except (grpc.aio.AioRpcError, DomainError) as error:
                self._note_failure(error)
                if _code(error) not in REFUSED:
                    return
                log.error("latencies are lost: the traces service refuses them", windows=len(report.windows))
            else:
                self._failing = False
            self._unsent = None

    def _note_failure(self, error: grpc.aio.AioRpcError | DomainError) -> None:
        """Once for each time that the traces service is away."""
        if not self._failing:
            reason = error.reason if isinstance(error, DomainError) else _code(error).name
            log.warning("latencies are not reported", reason=reason)
        self._failing = True

    def _next(self) -> pb.ReportLatencyRequest:
        self._sequence += 1
        start = next(iter(self._windows))
        windows = [
            pb.LatencyWindow(
                operation=operation,
                start_time=Timestamp(seconds=start),
                histogram=msgspec.msgpack.encode(histogram.to_wire()),
            )
            for operation, histogram in self._windows.pop(start).items()
        ]
        return pb.ReportLatencyRequest(source=self._source, sequence=self._sequence, windows=windows)


def _code(error: grpc.aio.AioRpcError | DomainError) -> grpc.StatusCode:
    return error.code if isinstance(error, DomainError) else error.code()
