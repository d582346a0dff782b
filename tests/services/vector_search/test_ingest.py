"""Documents over real gRPC: cut, embedded, found again, replaced as a whole."""

import asyncio
from pydoc_data.topics import topics
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from neurectomy.vector_search.v1 import vector_search_pb2 as pb
from services.vector_search.ingest import MAX_TEXT, Document
from services.vector_search.passages import cut
from services.vector_search.spool import Point, Spool
from services.vector_search.store import VectorStore
from services.vector_search.vectors import to_binary
from tests.conftest import Tenant
from tests.services.vector_search.conftest import NOBODY, count, create, refusal

READING = ("try", "exceptions", "formatstrings", "import", "lambda", "numbers", "while")


async def ingest(stub: Any, collection_id: str, document_id: str, text: str, **metadata: Any) -> tuple[int, bool]:
    """How many passages the document has, and whether it was unchanged."""
    request = pb.IngestDocumentRequest(collection_id=collection_id, document_id=document_id, text=text)
    request.metadata.update(metadata)
    answer = await stub.IngestDocument(request)
    return answer.passage_count, answer.unchanged


async def passages_of(stub: Any, collection_id: str) -> list[pb.Hit]:
    """All that the collection has, in the order of their documents."""
    found = await stub.Search(pb.SearchRequest(collection_ids=[collection_id], text="x", limit=1_000))
    return sorted(found.hits, key=lambda hit: (hit.document_id, hit.start))


async def test_a_question_finds_the_passage_that_answers_it(mine: Any) -> None:
    own = await create(mine)
    for topic in READING:
        await ingest(mine, own.id, topic, topics[topic], topic=topic)
    search = pb.SearchRequest(collection_ids=[own.id], text="how do I catch an exception", limit=3)
    answer = await mine.Search(search)
    assert answer.exact
    assert answer.hits[0].document_id in {"try", "exceptions"}
    assert "except" in answer.hits[0].point.text
    assert answer.hits[0].point.metadata["topic"] == answer.hits[0].document_id


async def test_passages_stand_where_they_say(mine: Any) -> None:
    own = await create(mine)
    await ingest(mine, own.id, "try", topics["try"])
    found = [(hit.start, hit.end, hit.point.text) for hit in await passages_of(mine, own.id)]
    assert found == [(passage.start, passage.end, passage.text) for passage in cut(topics["try"])]
    assert all(text == topics["try"][start:end] for start, end, text in found)


async def test_the_same_again_changes_nothing(mine: Any) -> None:
    own = await create(mine)
    passages = len(cut(topics["raise"]))
    assert await ingest(mine, own.id, "doc", topics["raise"], a=1, b=2) == (passages, False)
    before = await passages_of(mine, own.id)
    assert await ingest(mine, own.id, "doc", topics["raise"], b=2, a=1) == (passages, True)
    assert await passages_of(mine, own.id) == before


CHANGES = {
    "other text": ("lambda", {"a": 1}),
    "longer text": ("try", {"a": 1}),
    "other metadata": ("raise", {"a": 2}),
    "no metadata": ("raise", {}),
}


@pytest.mark.parametrize(("topic", "metadata"), CHANGES.values(), ids=CHANGES)
async def test_anything_else_replaces_the_document(mine: Any, topic: str, metadata: dict[str, Any]) -> None:
    own = await create(mine)
    await ingest(mine, own.id, "doc", topics["raise"], a=1)
    await ingest(mine, own.id, "neighbour", "A document that is not touched.")
    passages = cut(topics[topic])
    assert await ingest(mine, own.id, "doc", topics[topic], **metadata) == (len(passages), False)
    *replaced, neighbour = await passages_of(mine, own.id)
    assert [hit.point.text for hit in replaced] == [passage.text for passage in passages]
    assert all(dict(hit.point.metadata.items()) == metadata for hit in replaced)
    assert neighbour.document_id == "neighbour"
    assert await count(mine, own.id) == len(passages) + 1


async def test_two_at_once_leave_one_of_them(mine: Any) -> None:
    own = await create(mine)
    texts = [f"{topics['raise']}\n\nRevision {number}." for number in range(4)] * 2
    answers = await asyncio.gather(*(ingest(mine, own.id, "doc", text) for text in texts))
    left = await passages_of(mine, own.id)
    assert [[passage.text for passage in cut(text)] for text in texts].count([hit.point.text for hit in left]) == 2
    assert await count(mine, own.id) == len(left) == answers[0][0]
    assert (await ingest(mine, own.id, "doc", texts[int(left[-1].point.text[-2])]))[1]


async def test_an_ingest_waits_for_another_and_sees_what_it_did(mine: Any, tenant: Tenant, store: VectorStore) -> None:
    own = await create(mine)
    document = Document("doc", topics["raise"], {})
    passage = Point(UUID(int=1), "doc", 0, 5, "other", {}, to_binary(np.ones((1, 512), dtype=np.float32))[0])
    async with store.staging(tenant.organization_id) as staging:
        await staging.hold(UUID(own.id))
        waiting = asyncio.create_task(ingest(mine, own.id, "doc", document.text))
        await asyncio.sleep(1)
        with Spool() as spool:
            spool.add([passage])
            await staging.load(spool)
        await staging.replace_document(UUID(own.id), "doc", document.sha256(), 1)
        await staging.merge(UUID(own.id))
        assert not waiting.done()
    assert await waiting == (1, True)
    assert [hit.point.text for hit in await passages_of(mine, own.id)] == ["other"]


BAD = {
    "no name": ({"document_id": ""}, "INVALID_FIELDS"),
    "endless name": ({"document_id": "x" * 501}, "INVALID_FIELDS"),
    "NUL in the name": ({"document_id": "a\0b"}, "INVALID_FIELDS"),
    "no text": ({"text": ""}, "INVALID_FIELDS"),
    "nothing but space": ({"text": " \n\t\u3000"}, "INVALID_FIELDS"),
    "NUL in the text": ({"text": "a\0b"}, "INVALID_FIELDS"),
    "too long a text": ({"text": "x" * (MAX_TEXT + 1)}, "TOO_LARGE"),
    "too much metadata": ({"metadata": {"a": "x" * 20_000}}, "TOO_LARGE"),
    "not a number in the metadata": ({"metadata": {"a": float("nan")}}, "INVALID_FIELDS"),
    "NUL in the metadata": ({"metadata": {"\0": 1}}, "INVALID_FIELDS"),
    "no collection": ({"collection_id": ""}, "INVALID_FIELDS"),
    "no uuid": ({"collection_id": "x"}, "INVALID_FIELDS"),
    "nobody's": ({"collection_id": NOBODY}, "COLLECTION_NOT_FOUND"),
}


@pytest.mark.parametrize(("fields", "expected"), BAD.values(), ids=BAD)
async def test_ingest_refuses(mine: Any, fields: dict[str, Any], expected: str) -> None:
    own = await create(mine)
    request = {"collection_id": own.id, "document_id": "doc", "text": "Some text.", **fields}
    metadata = request.pop("metadata", {})
    assert await refusal(ingest(mine, **request, **metadata)) == expected
    assert await count(mine, own.id) == 0


VECTORS_ONLY = {
    "a model that is not here": ({"embedding_model": "text-embedding-3-small", "dimension": 1_536}, "INVALID_FIELDS"),
    "another dimension than the model's": ({"dimension": 3}, "DIMENSION_MISMATCH"),
}


@pytest.mark.parametrize(("fields", "expected"), VECTORS_ONLY.values(), ids=VECTORS_ONLY)
async def test_some_collections_take_no_text(mine: Any, fields: dict[str, Any], expected: str) -> None:
    own = await create(mine, **fields)
    assert await refusal(ingest(mine, own.id, "doc", "Some text.")) == expected
    assert await refusal(mine.Search(pb.SearchRequest(collection_ids=[own.id], text="some text"))) == expected


async def test_others_cannot_ingest(mine: Any, theirs: Any) -> None:
    own = await create(mine)
    await ingest(mine, own.id, "doc", "Some text.")
    assert await refusal(ingest(theirs, own.id, "doc", "Other text.")) == "COLLECTION_NOT_FOUND"
    assert [hit.point.text for hit in await passages_of(mine, own.id)] == ["Some text."]
