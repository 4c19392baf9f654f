"""Guarantees D1 to D8 of documents; D1 against crashes is in test_kill.py and test_power_cut.py."""

import asyncio

import pytest

from lambent.store.contract import (
    ABSENT,
    Change,
    Conflict,
    Cursor,
    Delete,
    Enqueue,
    Fenced,
    OpId,
    Put,
    QueueMessage,
    TooLarge,
    WatchLost,
)

pytestmark = pytest.mark.anyio


async def receive_all(queue, name):
    return [each.body for each in await queue.receive(name, limit=1000, visible_after_s=30, wait_s=0)]


# D1


async def test_an_acknowledged_document_is_there_after_a_restart(place):
    rev = await place.first.documents.put("a/1", {"n": [1, 2.5, None, "ü"]})
    await place.restart()
    doc = await place.first.documents.find("a/1")
    assert (doc.value, doc.rev) == ({"n": [1, 2.5, None, "ü"]}, rev)


# D2


async def test_of_many_writers_with_one_expectation_exactly_one_wins(place):
    rev = await place.first.documents.put("k", 0)
    clients = [place.first, place.second]
    results = await asyncio.gather(
        *(clients[n % 2].documents.put("k", n, expect=rev) for n in range(1, 41)), return_exceptions=True
    )
    won = [each for each in results if isinstance(each, int)]
    assert len(won) == 1
    assert all(isinstance(each, Conflict) and each.current_rev == won[0] for each in results if each not in won)
    doc = await place.second.documents.find("k")
    assert doc.rev == won[0]
    assert doc.value == results.index(won[0]) + 1


async def test_absent_is_won_once_too(place):
    results = await asyncio.gather(
        *(client.documents.put("k", 1, expect=ABSENT) for client in [place.first, place.second] * 10),
        return_exceptions=True,
    )
    assert sum(isinstance(each, int) for each in results) == 1
    assert sum(isinstance(each, Conflict) for each in results) == 19


@pytest.mark.parametrize("expect", [1, ABSENT])
async def test_a_conflict_names_the_current_revision_and_changes_nothing(documents, expect):
    await documents.put("k", "old")
    rev = await documents.put("k", "new")
    with pytest.raises(Conflict) as error:
        await documents.put("k", "newer", expect=expect)
    assert (error.value.key, error.value.current_rev) == ("k", rev)
    with pytest.raises(Conflict):
        await documents.delete("k", expect=expect)
    assert (await documents.find("k")).value == "new"


async def test_expecting_a_revision_of_what_is_not_there_is_a_conflict(documents):
    with pytest.raises(Conflict) as error:
        await documents.put("k", 1, expect=7)
    assert error.value.current_rev is None
    with pytest.raises(Conflict):
        await documents.delete("k", expect=7)
    assert await documents.find("k") is None


# D3


async def test_revisions_grow_over_writes_deletion_and_creation_anew(place):
    documents = place.first.documents
    revs = [await documents.put("k", 1), await documents.put("k", 2, expect=1)]
    revs.append(await documents.delete("k", expect=revs[-1]))
    await place.restart()
    documents = place.first.documents
    revs.append(await documents.put("k", 3, expect=ABSENT))
    revs += [await documents.delete("k"), await documents.put("k", 4)]
    assert revs == sorted(set(revs))


async def test_deleting_what_is_not_there_changes_nothing(documents):
    assert await documents.delete("k") == 0
    assert await documents.find("k") is None


# D4


async def test_a_read_after_an_acknowledged_write_sees_it_by_any_client(place):
    for n in range(50):
        writer, reader = (place.first, place.second) if n % 2 else (place.second, place.first)
        await writer.documents.put("k", n)
        assert (await reader.documents.find("k")).value == n
        assert (await reader.documents.list("k")).docs[0].value == n


# D5


async def test_a_list_is_in_byte_order_of_keys_and_keeps_to_its_prefix(documents):
    keys = ["a", "a/", "a/b", "a/b/c", "a/é", "a/\U0001f600", "a/\uffff", "a/z", "a0", "ab/c", "b", "A"]
    await documents.transact(*(Put(key, key) for key in keys))
    page = await documents.list("a/")
    expected = sorted((key for key in keys if key.startswith("a/")), key=lambda key: key.encode())
    assert [doc.key for doc in page.docs] == expected
    assert [doc.key for doc in (await documents.list("")).docs] == sorted(keys, key=lambda key: key.encode())


async def test_pages_of_a_list_join_without_gap_or_repetition(documents):
    keys = [f"p/{n:03}" for n in range(25)]
    await documents.transact(*(Put(key, 1) for key in keys))
    found, after = [], ""
    while True:
        page = await documents.list("p/", after=after, limit=10)
        assert len(page.docs) <= 10
        found += [doc.key for doc in page.docs]
        if page.next is None:
            break
        after = page.next
    assert found == keys


# D6


async def collect(watch, until):
    """Return all changes until the one with the value ``until``."""
    changes = []
    async with asyncio.timeout(10):
        async for change in watch:
            changes.append(change)
            if change.value == until:
                break
    return changes


async def test_a_watch_from_a_pages_cursor_has_no_gap_and_revisions_grow_per_key(place):
    await place.first.documents.put("w/0", "before")
    page = await place.second.documents.list("w/")
    for n in range(60):
        client = (place.first, place.second)[n % 2]
        await client.documents.put(f"w/{n % 5}", n)
        await client.documents.put(f"other/{n}", n)
    await place.first.documents.put("w/last", "end")
    changes = await collect(place.second.documents.watch("w/", page.cursor), "end")
    assert {change.key: change.value for change in changes} == {
        "w/0": 55, "w/1": 56, "w/2": 57, "w/3": 58, "w/4": 59, "w/last": "end",
    }  # fmt: skip
    for key in {change.key for change in changes}:
        revs = [change.rev for change in changes if change.key == key]
        assert revs == sorted(set(revs))


@pytest.mark.parametrize("writer", ["first", "second"])
async def test_a_waiting_watch_gets_the_last_state_of_other_clients_and_its_own(place, begun, writer):
    page = await place.second.documents.list("w/")
    watching = await begun(collect(place.second.documents.watch("w/", page.cursor), "end"))
    documents = getattr(place, writer).documents
    for n in range(30):
        await documents.put("w/k", n)
    await documents.put("w/k", "end")
    changes = await watching
    assert changes[-1].value == "end"
    assert [change.rev for change in changes] == sorted(change.rev for change in changes)


async def test_watches_see_writes_of_both_clients_while_both_write(place, begun):
    page = await place.first.documents.list("w/")
    watching = await begun(collect(place.first.documents.watch("w/", page.cursor), "end"))

    async def write(client, name):
        for n in range(60):
            await client.documents.put(f"w/{name}", n)

    await asyncio.gather(write(place.first, "a"), write(place.second, "b"))
    await place.second.documents.put("w/z", "end")
    final = {change.key: change.value for change in await watching}
    assert final == {"w/a": 59, "w/b": 59, "w/z": "end"}


async def test_a_write_of_another_client_just_before_our_own_is_not_skipped(place, begun):
    page = await place.first.documents.list("w/")
    watching = await begun(collect(place.first.documents.watch("w/", page.cursor), "end"))
    await place.first.documents.put("w/begin", 0)
    for n in range(30):
        await place.second.documents.put(f"w/theirs/{n}", n)
        await place.first.documents.put(f"w/mine/{n}", n)
    await place.first.documents.put("w/last", "end")
    found = {change.key for change in await watching}
    assert found == {"w/begin", "w/last"} | {f"w/{who}/{n}" for who in ("theirs", "mine") for n in range(30)}


async def test_a_deletion_is_a_change_to_none(documents):
    page = await documents.list("")
    watch = documents.watch("", page.cursor)
    rev = await documents.put("k", 1)
    assert await anext(watch) == Change("k", rev, b"1")
    deleted = await documents.delete("k")
    assert await anext(watch) == Change("k", deleted, None)


async def test_a_cursor_too_old_is_lost_and_never_silent(documents):
    page = await documents.list("")
    for n in range(1500):
        await documents.transact(Put("k", n), Put("l", n))
    with pytest.raises(WatchLost):
        await anext(documents.watch("", page.cursor))
    page = await documents.list("")
    await documents.put("k", "new")
    assert (await anext(documents.watch("", page.cursor))).value == "new"


async def test_a_slow_watch_loses_loudly_while_it_is_watching(documents):
    page = await documents.list("")
    watch = documents.watch("", page.cursor)
    await documents.put("k", "first")
    assert (await anext(watch)).value == "first"
    for n in range(30):
        await documents.transact(*(Put(f"k{m}", n) for m in range(1000)))
    with pytest.raises(WatchLost):
        await anext(watch)


@pytest.mark.parametrize("cursor", ["999999", "", "-1", "x"])
async def test_a_foreign_cursor_is_lost(documents, cursor):
    with pytest.raises(WatchLost):
        await anext(documents.watch("", Cursor(cursor)))


async def test_a_cancelled_wait_of_a_watch_loses_nothing(documents, begun):
    page = await documents.list("")
    watch = documents.watch("", page.cursor)
    for n in range(5):
        waiting = await begun(anext(watch))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await documents.put("k", n)
        assert (await anext(watch)).value == n


# D7


async def test_a_transaction_is_all_or_nothing_over_documents_and_enqueues(place):
    documents, queue = place.first.documents, place.first.queue
    rev = await documents.put("a", 1)
    ops = [Put("b", 2), Enqueue("q", QueueMessage(b"1")), Delete("a"), Put("c", 3, expect=5)]
    with pytest.raises(Conflict):
        await documents.transact(*ops)
    assert await documents.find("b") is None
    assert (await documents.find("a")).rev == rev
    assert await receive_all(queue, "q") == []
    revs = await documents.transact(*ops[:3], Put("c", 3, expect=ABSENT))
    assert revs[1] == 0
    assert min(revs[0], revs[2], revs[3]) > rev
    assert [doc.key for doc in (await place.second.documents.list("")).docs] == ["b", "c"]
    assert await receive_all(place.second.queue, "q") == [b"1"]


async def test_operations_of_a_transaction_see_those_before_them(documents):
    with pytest.raises(Conflict):
        await documents.transact(Put("k", 1), Put("k", 2, expect=ABSENT))
    assert await documents.find("k") is None
    revs = await documents.transact(Put("k", 1), Delete("k"), Put("k", 2, expect=ABSENT))
    assert revs == sorted(set(revs))
    assert (await documents.find("k")).value == 2


async def test_a_conflict_does_not_spoil_its_neighbours_in_time(documents):
    results = await asyncio.gather(
        *(documents.put(f"k{n}", n, expect=9 if n % 3 == 0 else ABSENT) for n in range(30)), return_exceptions=True
    )
    assert [isinstance(each, Conflict) for each in results] == [n % 3 == 0 for n in range(30)]
    assert len((await documents.list("k")).docs) == 20


async def test_one_operation_id_takes_effect_once(place):
    first = await place.first.documents.transact(Put("k", 1), Enqueue("q", QueueMessage(b"1")), op=OpId("try-1"))
    await place.restart()
    again = await place.second.documents.transact(Put("k", 2), Enqueue("q", QueueMessage(b"2")), op=OpId("try-1"))
    assert again == first
    assert (await place.first.documents.find("k")).value == 1
    assert await receive_all(place.first.queue, "q") == [b"1"]


async def test_an_operation_id_of_a_refused_transaction_may_be_tried_again(documents):
    with pytest.raises(Conflict):
        await documents.transact(Put("k", 1, expect=3), op=OpId("try"))
    await documents.transact(Put("k", 1), op=OpId("try"))
    assert (await documents.find("k")).value == 1


async def test_an_operation_id_is_forgotten_after_a_day(documents, clock):
    await documents.transact(Put("k", 1), op=OpId("try"))
    await clock.advance_s(86_399)
    await documents.transact(Put("k", 2), op=OpId("try"))
    assert (await documents.find("k")).value == 1
    await clock.advance_s(1)
    await documents.transact(Put("k", 2), op=OpId("try"))
    assert (await documents.find("k")).value == 2


# D8


async def test_a_fence_lets_a_live_holding_write(place):
    holding = await place.first.leases.acquire("l", "me", ttl_s=10)
    await place.second.documents.put("k", 1, fence=holding)
    await place.second.documents.delete("k", fence=holding)


@pytest.mark.parametrize("end", ["expired", "released", "superseded", "restarted"])
async def test_a_write_under_a_dead_holding_is_fenced_and_changes_nothing(place, clock, end):
    leases, documents = place.first.leases, place.first.documents
    holding = await leases.acquire("l", "me", ttl_s=10, epoch=1)
    match end:
        case "expired":
            await clock.advance_s(10)
        case "released":
            await leases.release(holding)
        case "superseded":
            await clock.advance_s(10)
            assert await leases.acquire("l", "me", ttl_s=10, epoch=1)
        case "restarted":
            assert await leases.acquire("other", "me", ttl_s=10, epoch=2)
    ops = [Put("k", 1), Enqueue("q", QueueMessage(b"1"))]
    with pytest.raises(Fenced):
        await documents.transact(*ops, fence=holding)
    assert await documents.find("k") is None
    assert await receive_all(place.first.queue, "q") == []


async def test_a_holding_fences_until_exactly_its_end(place, clock):
    holding = await place.first.leases.acquire("l", "me", ttl_s=10)
    await clock.advance_s(9.999)
    await place.second.documents.put("k", 1, fence=holding)
    await clock.advance_s(0.001)
    with pytest.raises(Fenced):
        await place.second.documents.put("k", 2, fence=holding)


# values and limits


async def test_what_a_reader_changes_in_a_value_stays_with_him(documents):
    value = {"list": [1]}
    await documents.put("k", value)
    value["list"].append(2)
    found = await documents.find("k")
    found.value["list"].append(3)
    assert (await documents.find("k")).value == {"list": [1]}


@pytest.mark.parametrize(
    "key",
    ["", "x" * 513, "é" * 257, "a\0b", "\ud800"],
    ids=["empty", "513-bytes", "514-bytes", "nul", "surrogate"],
)
async def test_a_key_beyond_the_limits_is_refused_with_nothing_changed(documents, key):
    with pytest.raises(TooLarge):
        await documents.transact(Put("good", 1), Put(key, 1))
    with pytest.raises(TooLarge):
        await documents.find(key)
    assert (await documents.list("")).docs == ()


async def test_a_key_of_512_bytes_is_kept(documents):
    await documents.put("é" * 256, 1)
    assert (await documents.list("é")).docs[0].key == "é" * 256


async def test_a_value_of_one_mebibyte_is_kept_and_one_byte_more_refused(documents):
    await documents.put("k", "x" * (1024 * 1024 - 2))
    assert len((await documents.find("k")).value) == 1024 * 1024 - 2
    with pytest.raises(TooLarge):
        await documents.put("k", "y" * (1024 * 1024 - 1))
    assert (await documents.find("k")).value[0] == "x"


@pytest.mark.parametrize("value", [None, float("nan")])
async def test_null_is_no_document(documents, value):
    with pytest.raises(ValueError, match="null"):
        await documents.put("k", value)


async def test_a_batch_beyond_the_limits_is_refused_with_nothing_changed(documents):
    with pytest.raises(TooLarge):
        await documents.transact(*(Put(f"k{n}", n) for n in range(1001)))
    with pytest.raises(TooLarge):
        await documents.transact(*(Put(f"k{n}", "x" * 1_000_000) for n in range(9)))
    assert (await documents.list("")).docs == ()
    assert len(await documents.transact(*(Put(f"k{n}", n) for n in range(1000)))) == 1000
