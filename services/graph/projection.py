"""The projection: the agent store's feed, taken into Neo4j batch by batch together with the position reached.

Whatever is delivered twice, late or in another order leaves the same graph, since each entity keeps the revision that
it was last changed by. Any number of processes may do this at once: a batch counts only if it begins where Neo4j is.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog

from services.graph.store import PUT_RELATIONS, GraphStore, Overtaken, Row
from services.runtime.background import in_background
from services.runtime.metrics import events_lag_seconds

BATCH = 500
LINGER_SECONDS = 0.02
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent after a change."""

    organization_id: str
    id: str
    revision: int
    name: str
    owner_id: str
    topics: tuple[str, ...]
    collection_ids: tuple[str, ...]
    deleted: bool


@dataclass(frozen=True, slots=True)
class RelationState:
    """A relation of two agents after a change."""

    organization_id: str
    id: str
    revision: int
    source_id: str
    target_id: str
    type: str
    deleted: bool


State = AgentState | RelationState
S = TypeVar("S", AgentState, RelationState)


@dataclass(frozen=True, slots=True)
class Change:
    """An event of the feed; what the graph does not show has no state. The time is in seconds since 1970."""

    position: str
    create_time: float
    state: State | None


class Feed(Protocol):
    """Where changes come from."""

    def watch(self, after: str) -> AsyncGenerator[Sequence[Change], None]:
        """Batches of changes behind the position, oldest first; an empty one when none came for a while."""


async def merged(batches: AsyncGenerator[Sequence[Change], None]) -> AsyncGenerator[Sequence[Change], None]:
    """What has come while the batch before was taken in, as one: a transaction costs as much as dozens of changes."""
    coming = asyncio.ensure_future(anext(batches, None))
    try:
        while (first := await coming) is not None:
            changes, last = list(first), time.monotonic() + LINGER_SECONDS
            coming = asyncio.ensure_future(anext(batches, None))
            while len(changes) < BATCH and time.monotonic() < last and (more := await _at_once(coming)):
                changes += more
                coming = asyncio.ensure_future(anext(batches, None))
            yield changes
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _at_once(coming: asyncio.Future[Sequence[Change] | None]) -> Sequence[Change] | None:
    """What is coming, if it is here in a millisecond; a failure is left for whoever waits for it."""
    await asyncio.wait([coming], timeout=0.001)
    return coming.result() if coming.done() and coming.exception() is None else None


def newest(states: Iterable[S]) -> list[S]:
    """The last state of each entity."""
    latest: dict[tuple[str, str], S] = {}
    for state in states:
        known = latest.get((state.organization_id, state.id))
        if known is None or known.revision < state.revision:
            latest[state.organization_id, state.id] = state
    return list(latest.values())


def agent_row(agent: AgentState) -> Row:
    """What PUT_AGENTS takes: nothing is left of a deleted agent but its revision."""
    shown = not agent.deleted
    return {
        "organization_id": agent.organization_id,
        "id": agent.id,
        "revision": agent.revision,
        "name": agent.name if shown else None,
        "owners": [agent.owner_id] if shown and agent.owner_id else [],
        "collections": sorted(set(agent.collection_ids)) if shown else [],
        "topics": sorted({topic.lower() for topic in agent.topics}) if shown else [],
    }


def relation_rows(relations: Iterable[RelationState]) -> dict[str, list[Row]]:
    """What PUT_RELATIONS take, by type."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for relation in relations:
        row = {
            "organization_id": relation.organization_id,
            "id": relation.id,
            "revision": relation.revision,
            "source_id": relation.source_id,
            "target_id": relation.target_id,
        }
        rows["ENDED" if relation.deleted else relation.type].append(row)
    return {type_: rows[type_] for type_ in PUT_RELATIONS if type_ in rows}


class Projection:
    """Keeps the graph up with the feed."""

    def __init__(self, store: GraphStore, feed: Feed, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self.following = False
        """The feed answers, and what it said last has been taken in."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Follow the feed in the background."""
        return in_background(self._run())

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                async with aclosing(self.follow()) as batches:
                    async for _ in batches:
                        pause = FIRST_PAUSE
            except Overtaken:
                log.info("projection goes on from elsewhere", again_in=pause)
            except Exception as error:  # whatever it is, the graph must not stand still for good
                self.following = False
                log.warning("projection stopped", error=repr(error), cause=repr(error.__cause__), again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def follow(self) -> AsyncGenerator[str, None]:
        """From where Neo4j is, or from the beginning if it is empty; yields each position reached.

        Raises Overtaken, StoreUnavailable and what the feed raises.
        """
        await self._store.migrate()
        position, _ = await self._store.progress()
        async with (
            in_background(self._store.warm_up()),  # Neo4j may have been started anew
            aclosing(self._feed.watch(position)) as batches,
            aclosing(merged(batches)) as larger_batches,
        ):
            async for changes in larger_batches:
                position = await self.apply(position, changes)
                self.following = True
                yield position
        self.following = False

    async def apply(self, after: str, changes: Sequence[Change]) -> str:
        """Take in a batch that begins behind `after`; return where it ends. Raises Overtaken and StoreUnavailable."""
        if not changes:
            await self._confirm(after)
            return after
        position, lag = changes[-1].position, max(0.0, self._clock() - changes[-1].create_time)
        states = [change.state for change in changes]
        agents = newest(state for state in states if isinstance(state, AgentState))
        relations = newest(state for state in states if isinstance(state, RelationState))
        await self._store.apply(after, position, lag, list(map(agent_row, agents)), relation_rows(relations))
        events_lag_seconds.set(lag)
        return position

    async def _confirm(self, position: str) -> None:
        """Notice in quiet times, too, that Neo4j was lost."""
        stored, _ = await self._store.progress()
        if stored != position:
            raise Overtaken
