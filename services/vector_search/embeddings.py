"""Texts to vectors: the built-in model in a thread of its own, and a memory of what was asked lately."""

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, Self, cast

import numpy as np

from services.runtime.errors import Overloaded
from services.runtime.metrics import cache_hits, cache_misses
from services.runtime.span_wire import Kind
from services.runtime.telemetry import span
from services.vector_search.vectors import Matrix, to_binary

BUILT_IN = "use-multilingual-v3"
BATCH_CHARACTERS = 2_000
"""A batch ends here: about 50 ms, which is how long a query may wait for passages. Larger ones are no faster."""
MAX_WAITING = 20_000


class Embedder(Protocol):
    """A model that turns texts into vectors of one length."""

    model: str
    dimension: int

    async def embed(self, texts: Sequence[str], urgent: bool = False) -> Matrix:
        """A row for each text; those of a query are urgent, those of a document are not. Raises Overloaded."""


@dataclass(frozen=True, slots=True)
class _Job:
    text: str
    embedded: "asyncio.Future[Matrix]"


class BuiltInEmbedder:
    """Embeds in one thread, what is urgent first; texts that arrive in the meantime make up the next batch."""

    model = BUILT_IN
    dimension = 512

    def __init__(self, encode: Callable[[Sequence[str]], Matrix], thread: Executor) -> None:
        self._encode = encode
        self._thread = thread
        self._urgent: deque[_Job] = deque()
        self._patient: deque[_Job] = deque()
        self._arrived = asyncio.Event()

    async def embed(self, texts: Sequence[str], urgent: bool = False) -> Matrix:
        """See Embedder. What a cancelled caller has still waiting is not embedded."""
        line = self._urgent if urgent else self._patient
        if len(line) + len(texts) > MAX_WAITING:
            raise Overloaded
        loop = asyncio.get_running_loop()
        jobs = [_Job(text, loop.create_future()) for text in texts]
        line.extend(jobs)
        self._arrived.set()
        return np.stack(await asyncio.gather(*(job.embedded for job in jobs)))

    async def _work(self) -> None:
        """Load the model, then embed what comes, for ever."""
        with suppress(Exception):  # the first caller will meet it again
            await self._run(["the first text loads the model"])
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while line := self._urgent or self._patient:
                if jobs := _batch(line):
                    await self._finish(jobs)

    async def _finish(self, jobs: Sequence[_Job]) -> None:
        texts = list(dict.fromkeys(job.text for job in jobs))
        outcome: dict[str, Matrix] | Exception
        try:
            outcome = dict(zip(texts, await self._run(texts), strict=True))
        except Exception as error:
            outcome = error  # the callers' trouble; this task must go on for the others
        for job in jobs:
            _settle(job, outcome)

    async def _run(self, texts: Sequence[str]) -> Matrix:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._encode, texts)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Load the model and work, until the end. What is asked for while it loads waits."""
        work = asyncio.create_task(self._work())
        try:
            yield self
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work


def _batch(line: deque[_Job]) -> list[_Job]:
    """Take from the line as many as are worth a batch, and none whose caller is gone."""
    jobs: list[_Job] = []
    characters = 0
    while line and characters < BATCH_CHARACTERS:
        job = line.popleft()
        if not job.embedded.done():
            jobs.append(job)
            characters += len(job.text)
    return jobs


def _settle(job: _Job, outcome: Mapping[str, Matrix] | Exception) -> None:
    if job.embedded.done():
        return
    if isinstance(outcome, Exception):
        job.embedded.set_exception(outcome)
    else:
        job.embedded.set_result(outcome[job.text])


class QueryEmbeddings:
    """The embeddings of queries by one model, as pgvector receives them; the latest are remembered."""

    def __init__(self, embedder: Embedder, size: int) -> None:
        self.embedder = embedder
        self._size = size
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._hits, self._misses = cache_hits.labels("embeddings"), cache_misses.labels("embeddings")

    async def of(self, texts: Iterable[str]) -> dict[str, bytes]:
        """The embedding of each text. Raises Overloaded."""
        found = {text: self._recall(text) for text in texts}
        missing = [text for text, known in found.items() if known is None]
        if missing:
            with span(Kind.EMBEDDING, "embed queries"):
                rows = to_binary(await self.embedder.embed(missing, urgent=True))
            for text, row in zip(missing, rows, strict=True):
                found[text] = self._remember(text, row)
        return cast(dict[str, bytes], found)

    def _recall(self, text: str) -> bytes | None:
        key = _digest(text)
        known = self._known.get(key)
        if known is None:
            self._misses.inc()
            return None
        self._hits.inc()
        self._known.move_to_end(key)
        return known

    def _remember(self, text: str, embedding: bytes) -> bytes:
        self._known[_digest(text)] = embedding
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return embedding


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
