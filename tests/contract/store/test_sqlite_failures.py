"""What the SQLite engine does when the disk, the file or a lock fails, and what it finds at the next start."""

import asyncio
import os
import sqlite3

import pytest
import structlog

from lambent.model.errors import HostError, Refused
from lambent.store.contract import Entry, Put, QueueMessage, Unavailable, Unknown
from lambent.store.sqlite.engine import open_sqlite_store

pytestmark = pytest.mark.anyio


def opened(path, clock, **settings):
    return open_sqlite_store(path, clock=clock, stream_limit_bytes=1 << 24, **settings)


class FailingConnection(sqlite3.Connection):
    """A connection whose COMMIT fails as long as it is told to: before it takes effect, or after."""

    fails: str = ""

    def execute(self, sql, *parameters):
        if sql == "COMMIT" and self.fails:
            if self.fails == "after":
                super().execute(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)


@pytest.fixture
def failing(monkeypatch):
    """Make the writer's connections fail at COMMIT: ``failing("before")``, ``failing("after")``, ``failing("")``."""
    original = sqlite3.connect
    monkeypatch.setattr(
        "lambent.store.sqlite.schema.sqlite3.connect",
        lambda *args, **kwargs: original(*args, **kwargs, factory=FailingConnection),
    )

    def fail(moment):
        monkeypatch.setattr(FailingConnection, "fails", moment)

    return fail


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_failed_commit_is_unknown_to_every_waiter_and_the_writer_lives_on(tmp_path, clock, failing, moment):
    async with opened(tmp_path, clock) as store:
        await store.documents.put("k", "before")
        failing(moment)
        with structlog.testing.capture_logs() as logs:
            results = await asyncio.gather(
                *(store.documents.put(f"k/{n}", n) for n in range(10)),
                store.queue.enqueue("q", QueueMessage(b"1", id="a")),
                return_exceptions=True,
            )
        assert {type(each) for each in results} == {Unknown}
        assert store.trouble is not None
        assert [log["event"] for log in logs if log["log_level"] == "error"] == ["store_write_failed"]
        failing("")
        assert (await store.documents.find("k")).value == "before"
        # The same id again: once in all, whether the commit had happened or not.
        await store.queue.enqueue("q", QueueMessage(b"1", id="a"))
        await store.documents.put("k", "after")
        assert store.trouble is None
        assert len(await store.queue.receive("q", limit=9, visible_after_s=9, wait_s=0)) == 1
        assert len((await store.documents.list("k/")).docs) == (10 if moment == "after" else 0)


async def test_a_parked_receiver_whose_commit_failed_gets_unknown_and_the_item_comes_again(tmp_path, clock, failing):
    async with opened(tmp_path, clock) as store:
        waiting = asyncio.ensure_future(store.queue.receive("q", limit=1, visible_after_s=5, wait_s=600))
        await asyncio.sleep(0)
        await store.documents.put("k", 1)  # after this the receiver is parked
        failing("before")
        with pytest.raises(Unknown):
            await store.queue.enqueue("q", QueueMessage(b"1"))
        with pytest.raises(Unknown):
            await waiting
        failing("")
        await store.queue.enqueue("q", QueueMessage(b"2"))
        (mine,) = await store.queue.receive("q", limit=9, visible_after_s=5, wait_s=0)
        assert (mine.body, mine.attempt) == (b"2", 1)


async def test_a_cancelled_receiver_is_forgotten(tmp_path, clock):
    async with opened(tmp_path, clock) as store:
        waiting = asyncio.ensure_future(store.queue.receive("q", limit=1, visible_after_s=5, wait_s=600))
        await asyncio.sleep(0)
        await store.documents.put("k", 1)
        assert "q" in store.writer._parked
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await store.documents.put("k", 2)
        assert store.writer._parked == {}


async def test_a_full_disk_is_unavailable_with_nothing_changed_until_there_is_room(tmp_path, clock):
    async with opened(tmp_path, clock) as store:
        await store.documents.put("k", 1)
        db = store.writer._db
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(Unavailable):
            await store.documents.transact(*(Put(f"k{n}", "x" * 5000) for n in range(100)))
        assert store.trouble is not None
        assert len((await store.documents.list("")).docs) == 1
        db.execute(f"PRAGMA max_page_count={1 << 30}")
        await store.documents.put("k", 2)
        assert store.trouble is None


async def test_a_lock_that_is_not_released_is_unavailable_and_reads_go_on(tmp_path, clock):
    async with opened(tmp_path, clock) as store:
        await store.documents.put("k", 1)
        store.writer._db.execute("PRAGMA busy_timeout=50")
        locker = sqlite3.connect(tmp_path / "lambent.db", isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await store.documents.put("k", 2)
        assert (await store.documents.find("k")).value == 1
        locker.execute("ROLLBACK")
        locker.close()
        await store.documents.put("k", 3)


async def test_after_close_everything_is_unavailable_and_waiters_are_told(tmp_path, clock):
    async with opened(tmp_path, clock) as store:
        page = await store.documents.list("")
        waiting = [
            asyncio.ensure_future(store.queue.receive("q", limit=1, visible_after_s=1, wait_s=600)),
            asyncio.ensure_future(anext(store.documents.watch("", page.cursor))),
        ]
        await store.documents.put("other", 1)
        assert (await waiting.pop()).value == 1
        waiting.append(asyncio.ensure_future(anext(store.documents.watch("none", page.cursor))))
        for _ in range(20):
            await asyncio.sleep(0)
    for task in waiting:
        with pytest.raises(Unavailable):
            await task
    with pytest.raises(Unavailable):
        await store.documents.put("k", 1)
    with pytest.raises(Unavailable):
        await store.documents.list("")
    with pytest.raises(Unavailable):
        await store.streams.append("s", Entry(1, b""))


async def test_leases_of_an_earlier_boot_are_void_and_tokens_go_on(tmp_path, clock):
    async with opened(tmp_path, clock, boot_id="one") as store:
        old = await store.leases.acquire("l", "me", ttl_s=600)
    async with opened(tmp_path, clock, boot_id="one") as store:
        assert await store.leases.renew(old, ttl_s=600) == [True]
    async with opened(tmp_path, clock, boot_id="two") as store:
        assert await store.leases.renew(old, ttl_s=600) == [False]
        assert (await store.leases.acquire("l", "you", ttl_s=600)).token > old.token


async def test_a_newer_schema_is_refused_and_not_touched(tmp_path, clock):
    async with opened(tmp_path, clock):
        pass
    db = sqlite3.connect(tmp_path / "lambent.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(Refused, match="version 99"):
        async with opened(tmp_path, clock):
            pass
    db = sqlite3.connect(tmp_path / "lambent.db")
    assert db.execute("PRAGMA user_version").fetchone() == (99,)
    db.close()


async def test_a_file_that_is_no_database_is_refused_in_words(tmp_path, clock):
    (tmp_path / "lambent.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(HostError, match=r"lambent\.db"):
        async with opened(tmp_path, clock):
            pass


async def test_only_the_owner_may_read_what_the_store_writes(tmp_path, clock):
    before = os.umask(0)
    try:
        path = tmp_path / "state"
        async with opened(path, clock) as store:
            await store.documents.put("k", "secret")
            await store.streams.append("s", Entry(1, b"secret"))

            async def content():
                yield b"secret"

            await store.blobs.put(content())
            modes = {each.name: each.stat().st_mode & 0o077 for each in [path, *path.rglob("*")]}
    finally:
        os.umask(before)
    assert {"lambent.db", "lambent.db-wal", "lambent.db-shm", "segment-0000000001.db"} <= modes.keys()
    assert set(modes.values()) == {0}


async def test_two_stores_in_one_process_do_not_notice_each_other(tmp_path, clock):
    async with opened(tmp_path / "a", clock) as first, opened(tmp_path / "b", clock) as second:
        await first.documents.put("k", 1)
        await first.queue.enqueue("q", QueueMessage(b"1"))
        assert await second.documents.find("k") is None
        assert (await second.queue.depth("q")).visible == 0
