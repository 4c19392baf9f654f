"""Choosing one page of events from many streams, in bounded memory.

Stored streams keep the order of arrival; pages are in the order of time. Each stream has a bound on how far the two
differ (``disorder_ms``), so that reading ends soon after a page is full.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from lambent.observe.log_events import END_OF_TIME_MS, EventStore, LogEvent, at_ms_of, parse_event
from lambent.observe.store_seam import Slice

# API reference, GetLogEvents and FilterLogEvents: a page has "up to 1 MB of log events or up to 10,000 log events".
PAGE_LIMIT_BYTES: Final = 1_048_576
PAGE_LIMIT_EVENTS: Final = 10_000

_SLICE_ENTRIES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Source:
    """One stream to read: its name in answers, where its events are kept, and its disorder."""

    stream: str
    name: str
    disorder_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which events: ``start_ms <= at < end_ms``, beyond ``beyond`` in the direction of reading, and ``matches``."""

    start_ms: int = 0
    end_ms: int = END_OF_TIME_MS
    beyond: int | None = None  # a key; events with it are not returned again
    limit: int = PAGE_LIMIT_EVENTS
    newest_first: bool = False
    matches: Callable[[str], bool] | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """An event of a page, and the stream that it came from."""

    stream: str
    event: LogEvent


@dataclass(slots=True)
class Page:
    """The nearest events in the direction of reading; ``has_more`` once something had to be left out."""

    question: Question
    has_more: bool = False
    _bytes: int = 0
    _heap: list[tuple[int, int, Chosen]] = field(default_factory=list)  # the farthest event first

    def chosen(self) -> list[Chosen]:
        """Return the events in the direction of reading."""
        return [chosen for _, _, chosen in sorted(self._heap, key=lambda each: -each[0])]

    def take(self, stream: str, event: LogEvent) -> None:
        """Put an event in if it is nearer than the farthest one of a full page."""
        rank = event.key if self.question.newest_first else -event.key
        if self.has_more and rank < self._heap[0][0]:
            return
        heapq.heappush(self._heap, (rank, len(self._heap) + id(event), Chosen(stream, event)))
        self._bytes += event.counted_bytes
        while len(self._heap) > self.question.limit or (self._bytes > PAGE_LIMIT_BYTES and len(self._heap) > 1):
            self._bytes -= heapq.heappop(self._heap)[2].event.counted_bytes
            self.has_more = True

    def is_past(self, at_ms: int, disorder_ms: int) -> bool:
        """Return whether a stream read up to ``at_ms`` has nothing more for this page."""
        if not self.has_more:
            return False
        farthest_ms = self._heap[0][2].event.at_ms
        if self.question.newest_first:
            return at_ms + disorder_ms < farthest_ms
        return at_ms - disorder_ms > farthest_ms


async def choose_page(events: EventStore, sources: Sequence[Source], question: Question) -> Page:
    """Return the page of ``sources`` that ``question`` asks for."""
    page = Page(question)
    for source in sources:
        await _read_source(events, source, page)
    return page


async def _read_source(events: EventStore, source: Source, page: Page) -> None:
    question = page.question
    start_ms, end_ms = question.start_ms, question.end_ms
    if question.beyond is not None:
        if question.newest_first:
            end_ms = min(end_ms, at_ms_of(question.beyond) + 1)
        else:
            start_ms = max(start_ms, at_ms_of(question.beyond))
    position: object = None
    while start_ms < end_ms:
        entries = await events.read(
            source.name,
            start_ms=start_ms,
            end_ms=end_ms,
            after=position,
            limit=_SLICE_ENTRIES,
            newest_first=question.newest_first,
        )
        if not entries.entries:
            return
        # Matching takes as long as the caller's pattern and the messages want: never on the loop.
        await asyncio.to_thread(_take_slice, source, page, entries)
        if not entries.has_more or page.is_past(entries.entries[-1].at_ms, source.disorder_ms):
            return
        position = entries.last


def _take_slice(source: Source, page: Page, entries: Slice) -> None:
    question = page.question
    for entry in entries.entries:
        event = parse_event(entry)
        if question.beyond is not None and (
            event.key >= question.beyond if question.newest_first else event.key <= question.beyond
        ):
            continue
        if question.matches is None or question.matches(event.text):
            page.take(source.stream, event)
