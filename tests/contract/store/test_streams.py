"""Guarantees S1 to S3 of streams; the power cut is in test_power_cut.py, S4 is a benchmark's."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from lambent.store.contract import Entry, Position, TooLarge
from lambent.store.memory import MemoryStore
from lambent.store.sqlite.engine import open_sqlite_store

pytestmark = pytest.mark.anyio

ALL = {"start_ms": 0, "end_ms": 1 << 60}


def entries(*numbers):
    return [Entry(n, b"entry %d" % n) for n in numbers]


async def read_all(streams, stream, limit=7, **selection):
    """Return all entries, a few at a time, and their positions."""
    found, positions, after = [], [], None
    while True:
        part = await streams.read(stream, **{**ALL, **selection}, after=after, limit=limit)
        assert len(part.entries) == len(part.positions) <= limit
        found += part.entries
        positions += part.positions
        if not part.has_more:
            return found, positions
        assert part.entries
        after = part.last


# S1, S2


async def test_appended_entries_are_there_after_a_restart_in_order_of_append(place):
    await place.first.streams.append("s/a", *entries(5, 3, 9))
    await place.first.streams.append("s/b", *entries(1), durable=True)
    await place.first.streams.append("s/a", *entries(4, 4))
    await place.restart()
    found, positions = await read_all(place.second.streams, "s/a")
    assert found == entries(5, 3, 9, 4, 4)
    assert positions == sorted(set(positions))


async def test_both_clients_append_and_each_ones_order_is_kept(place):
    async def append(client, name):
        for n in range(100):
            await client.streams.append("s", Entry(n, b"%s %d" % (name, n)))

    await asyncio.gather(append(place.first, b"a"), append(place.second, b"b"))
    found, _ = await read_all(place.first.streams, "s", limit=50)
    assert len(found) == 200
    for name in (b"a", b"b"):
        assert [entry.body for entry in found if entry.body.startswith(name)] == [
            b"%s %d" % (name, n) for n in range(100)
        ]


async def test_one_call_that_appends_many_keeps_their_order_beside_concurrent_ones(streams):
    await asyncio.gather(*(streams.append("s", *entries(*range(n * 10, n * 10 + 10))) for n in range(50)))
    found, _ = await read_all(streams, "s", limit=100)
    assert [entry.at_ms for entry in found] == list(range(500))


async def test_reading_forwards_and_backwards_by_pages_gives_the_same_entries(streams):
    await streams.append("s", *entries(*range(40)))
    forwards, positions = await read_all(streams, "s")
    backwards, positions_back = await read_all(streams, "s", newest_first=True)
    assert forwards == entries(*range(40))
    assert backwards == forwards[::-1]
    assert positions_back == positions[::-1]


async def test_a_time_range_includes_its_start_and_excludes_its_end(streams):
    await streams.append("s", *entries(10, 20, 15, 30, 20))
    assert (await read_all(streams, "s", start_ms=15, end_ms=30))[0] == entries(20, 15, 20)
    assert (await read_all(streams, "s", start_ms=31, end_ms=99))[0] == []
    assert (await read_all(streams, "s", start_ms=15, end_ms=30, newest_first=True, limit=1))[0] == entries(20, 15, 20)


async def test_has_more_is_true_only_where_more_is_there(streams):
    await streams.append("s", *entries(1, 2, 3))
    assert (await streams.read("s", **ALL, limit=2)).has_more
    assert not (await streams.read("s", **ALL, limit=3)).has_more
    assert not (await streams.read("s", start_ms=1, end_ms=3, limit=2)).has_more


async def test_a_reader_follows_what_is_appended_later(place):
    await place.first.streams.append("s", *entries(1))
    seen = await place.second.streams.read("s", **ALL)
    assert (await place.second.streams.read("s", **ALL, after=seen.last)).entries == ()
    await place.first.streams.append("s", *entries(2))
    assert list((await place.second.streams.read("s", **ALL, after=seen.last)).entries) == entries(2)


async def test_a_position_stays_valid_while_others_are_dropped_and_appended(place):
    await place.first.streams.append("s", *entries(1, 2, 3, 4))
    _, positions = await read_all(place.first.streams, "s")
    await place.first.streams.drop("s", before_ms=3)
    await place.restart()
    await place.second.streams.append("s", *entries(5))
    for position, expected in ((positions[1], (3, 4, 5)), (positions[2], (4, 5)), (positions[3], (5,))):
        assert list((await place.first.streams.read("s", **ALL, after=position)).entries) == entries(*expected)


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_a_slice_ends_before_it_is_too_much_for_memory(engine, tmp_path, clock):
    async with AsyncExitStack() as stack:
        if engine == "memory":
            streams = MemoryStore(clock).streams
        else:
            opening = open_sqlite_store(tmp_path / "state", clock=clock, stream_limit_bytes=1 << 28)
            streams = (await stack.enter_async_context(opening)).streams
        for n in range(10):
            await streams.append("s", Entry(n, b"x" * 1_200_000))
        part = await streams.read("s", **ALL, limit=1000)
        assert [entry.at_ms for entry in part.entries] == list(range(6))
        assert part.has_more
        assert [entry.at_ms for entry in (await read_all(streams, "s", limit=1000))[0]] == list(range(10))


async def test_an_unknown_stream_is_empty(streams):
    part = await streams.read("s", **ALL)
    assert (part.entries, part.last, part.has_more) == ((), None, False)
    await streams.drop("s", before_ms=9)
    await streams.remove("s")


async def test_what_is_no_position_is_refused(streams):
    with pytest.raises(ValueError, match="position"):
        await streams.read("s", **ALL, after=Position("nonsense"))


# drop, remove, names, usage


async def test_drop_forgets_what_is_older_and_usage_shows_it(place):
    await place.first.streams.append("g/a", *entries(1, 2, 3))
    await place.first.streams.append("g/b", *entries(2))
    await place.first.streams.append("h/c", *entries(0))
    usage = await place.second.streams.usage("g/")
    assert (usage.bytes, usage.entries, usage.oldest) == (4 * len(b"entry 1"), 4, 1)
    await place.first.streams.drop("g/a", before_ms=3)
    assert (await read_all(place.second.streams, "g/a"))[0] == entries(3)
    usage = await place.second.streams.usage("g/")
    assert (usage.bytes, usage.entries, usage.oldest) == (2 * len(b"entry 1"), 2, 2)
    await place.first.streams.drop("g/a", before_ms=100)
    assert await place.second.streams.names("") == ["g/b", "h/c"]


async def test_a_removed_stream_is_gone_and_may_begin_anew(place):
    await place.first.streams.append("s", *entries(1, 2))
    await place.second.streams.append("s", *entries(3))
    await place.second.streams.remove("s")
    assert await place.first.streams.names("") == []
    assert (await place.first.streams.usage("")).entries == 0
    await place.first.streams.append("t", *entries(7))
    await place.first.streams.append("s", *entries(8))
    assert (await read_all(place.second.streams, "s"))[0] == entries(8)
    assert (await read_all(place.second.streams, "t"))[0] == entries(7)
    usage = await place.second.streams.usage("s")
    assert (usage.entries, usage.oldest) == (1, 8)


async def test_names_below_a_prefix_are_in_byte_order(streams):
    for name in ("a/2", "a/10", "a/é", "ab", "b"):
        await streams.append(name, *entries(1))
    assert await streams.names("a/") == ["a/10", "a/2", "a/é"]
    assert await streams.names("") == ["a/10", "a/2", "a/é", "ab", "b"]


# S3


async def test_at_the_bound_the_oldest_entries_go_and_are_counted(place, tmp_path):
    streams, bound = place.first.streams, 4 * 1024 * 1024
    await streams.append("old", Entry(0, b"first"))
    appended = 1
    for n in range(1, 130):
        await streams.append(f"s/{n % 7}", *(Entry(n, b"x" * 5_000) for _ in range(10)))
        appended += 10
        if place.is_durable:
            used = sum(path.stat().st_size for path in tmp_path.glob("state/streams/*") if path.suffix != ".db-shm")
            assert used <= bound
    usage = await streams.usage("")
    assert usage.evicted > 0
    assert usage.entries + usage.evicted == appended
    assert usage.entries * 5_000 >= bound // 3
    assert await streams.names("old") == []
    newest = await streams.read("s/3", **ALL, newest_first=True, limit=1)
    assert newest.entries[0].at_ms == 129


async def test_order_and_positions_hold_over_many_segments_with_two_writers(place):
    for n in range(100):
        client = (place.first, place.second)[n % 2]
        await client.streams.append("s", Entry(n, b"%d" % n), Entry(n, b"x" * 8_000))
    found, positions = await read_all(place.second.streams, "s", limit=13)
    assert [entry.at_ms for entry in found] == [n for n in range(100) for _ in range(2)]
    assert positions == sorted(set(positions))
    assert (await read_all(place.first.streams, "s", limit=13, newest_first=True))[0] == found[::-1]
    await place.first.streams.drop("s", before_ms=60)
    assert (await read_all(place.second.streams, "s"))[0] == found[120:]
    assert (await place.second.streams.usage("s")).entries == 80


async def test_a_damaged_segment_is_set_aside_and_the_others_are_read(tmp_path, clock):
    path = tmp_path / "state"
    async with open_sqlite_store(path, clock=clock, stream_limit_bytes=1 << 22) as store:
        for n in range(60):
            await store.streams.append("s", Entry(n, b"x" * 10_000))
    segments = sorted((path / "streams").glob("*.db"))
    assert len(segments) > 2
    segments[0].write_bytes(b"no database at all" * 1000)
    async with open_sqlite_store(path, clock=clock, stream_limit_bytes=1 << 22) as store:
        found, _ = await read_all(store.streams, "s")
        assert 0 < len(found) < 60
        assert found[-1].at_ms == 59
        await store.streams.append("s", *entries(60))
        assert (await store.streams.read("s", **ALL, newest_first=True, limit=1)).entries[0].at_ms == 60
    assert (path / "streams" / "segment-0000000001.damaged").exists()


async def test_entries_beyond_the_limits_are_refused_with_nothing_changed(streams):
    with pytest.raises(TooLarge):
        await streams.append("s", Entry(1, b"good"), Entry(2, b"x" * (2 * 1024 * 1024 + 1)))
    with pytest.raises(TooLarge):
        await streams.append("s", *entries(*range(1001)))
    with pytest.raises(TooLarge):
        await streams.append("", *entries(1))
    assert await streams.names("") == []
