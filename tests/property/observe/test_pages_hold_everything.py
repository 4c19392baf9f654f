"""Walking through pages gives every event once, in order, whatever arrived in whatever order."""

import tempfile
from pathlib import Path
from unittest import mock

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.observe import log_pages
from lambent.observe.log_events import EventNumbers, LogEvent, StoredEvents, cut_message
from lambent.observe.log_pages import Question, Source, choose_page
from lambent.observe.store_seam import StoreParts
from lambent.store.contract import Entry
from lambent.store.streams.engine import open_streams

ARRIVALS = st.lists(st.lists(st.integers(0, 40), min_size=8, max_size=30), min_size=1, max_size=3)


def disorder(times):
    latest, worst = 0, 0
    for at in times:
        worst, latest = max(worst, latest - at), max(latest, at)
    return worst


async def walk(events, sources, limit, newest_first, start_ms, end_ms):
    """Return the numbers of all events, page by page."""
    seen, beyond = [], None
    while True:
        question = Question(
            start_ms=start_ms, end_ms=end_ms, beyond=beyond, limit=limit, newest_first=newest_first,
            matches=lambda message: not message.startswith("-"),
        )  # fmt: skip
        page = await choose_page(events, sources, question)
        chosen = page.chosen()
        assert len(chosen) <= limit
        seen += [(each.stream, each.event) for each in chosen]
        if not page.has_more:
            return seen
        beyond = chosen[-1].event.key


@given(
    arrivals=ARRIVALS,
    limit=st.integers(1, 6),
    newest_first=st.booleans(),
    start_ms=st.sampled_from([0, 0, 5]),
    end_ms=st.sampled_from([45, 45, 35]),
)
@settings(max_examples=60, deadline=None)
def test_pages_give_every_event_of_the_range_once_and_in_order(arrivals, limit, newest_first, start_ms, end_ms):
    async def check():
        numbers = EventNumbers()
        with tempfile.TemporaryDirectory() as folder:
            async with open_streams(Path(folder), limit_bytes=1 << 24) as streams:
                parts = StoreParts(documents=None, streams=streams, entry=Entry, absent=None, conflict=Exception)
                events, sources, expected = StoredEvents(parts), [], []
                for index, times in enumerate(arrivals):
                    sources.append(Source(f"s{index}", f"log/{index}", disorder(times)))
                    made = [LogEvent(at, 99, numbers.next(), b"-" if at % 7 == 6 else b"%d" % at) for at in times]
                    for start in range(0, len(made), 4):
                        await events.append(f"log/{index}", made[start : start + 4])
                    expected += [
                        (f"s{index}", event)
                        for event in made
                        if start_ms <= event.at_ms < end_ms and event.message != b"-"
                    ]
                expected.sort(key=lambda each: each[1].key, reverse=newest_first)
                assert await walk(events, sources, limit, newest_first, start_ms, end_ms) == expected

    with mock.patch.object(log_pages, "_SLICE_ENTRIES", 2):  # so that reading has reason to end early
        anyio.run(check)


@given(message=st.binary(max_size=64), times=st.integers(1, 40_000), text=st.text(max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_cut_message_loses_nothing_and_no_piece_is_too_long(message, times, text):
    for whole in (message * times, text.encode() * times):
        pieces = cut_message(whole)
        assert b"".join(pieces) == whole
        assert all(len(piece) <= 1_048_550 for piece in pieces)
    for piece in cut_message(text.encode() * times):
        piece.decode()
