"""What the contract says of clients, between two processes on one directory."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lambent.store.contract import Conflict, QueueMessage
from lambent.store.sqlite.engine import open_sqlite_store

HERE = Path(__file__).parent
pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path, clock):
    """This process's client."""
    async with open_sqlite_store(tmp_path / "state", clock=clock, stream_limit_bytes=1 << 24) as store:
        yield store


@pytest.fixture
async def other(store, tmp_path):
    """Ask the other process's client; returns what it answered."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, HERE / "peer.py", tmp_path / "state", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    async def ask(command, **arguments):
        process.stdin.write(json.dumps([command, arguments]).encode() + b"\n")
        async with asyncio.timeout(30):
            return json.loads(await process.stdout.readline())

    yield ask
    process.stdin.close()
    await process.wait()


async def test_a_write_of_the_other_process_is_read_at_once_d4(store, other):
    for n in range(20):
        await other("put", key="k", value=n)
        assert (await store.documents.find("k")).value == n
        await store.documents.put("mine", n)
        assert await other("find", key="mine") == n


async def test_a_waiting_watch_gets_changes_of_the_other_process_d6(store, other):
    page = await store.documents.list("")
    watch = store.documents.watch("w/", page.cursor)
    for n in range(5):
        waiting = asyncio.ensure_future(anext(watch))
        await other("put", key="w/k", value=n)
        async with asyncio.timeout(10):
            assert (await waiting).value == n


async def test_one_of_two_processes_wins_an_expectation_d2(store, other):
    await store.documents.put("counter", 0)
    theirs = asyncio.ensure_future(other("count", key="counter", times=50))
    await asyncio.sleep(0)
    won = 0
    while won < 50:
        doc = await store.documents.find("counter")
        try:
            await store.documents.put("counter", doc.value + 1, expect=doc.rev)
            won += 1
        except Conflict:
            continue
    assert await theirs == 50
    assert (await store.documents.find("counter")).value == 100


async def test_two_processes_receive_each_item_once_q9(store, other):
    sent = [f"{n}" for n in range(200)]
    await store.queue.enqueue("q", *(QueueMessage(body.encode()) for body in sent))
    theirs = asyncio.ensure_future(other("drain", queue="q"))
    mine = []
    while got := await store.queue.receive("q", limit=5, visible_after_s=60, wait_s=0):
        mine += [each.body.decode() for each in got]
        await store.queue.ack(*got)
    assert sorted(mine + await theirs) == sorted(sent)


async def test_a_waiting_receiver_wakes_for_the_other_process_q9(store, other):
    waiting = asyncio.ensure_future(store.queue.receive("q", limit=5, visible_after_s=60, wait_s=600))
    await asyncio.sleep(0)
    await other("enqueue", queue="q", body="hello")
    async with asyncio.timeout(10):
        assert [each.body for each in await waiting] == [b"hello"]


async def test_a_limit_holds_over_two_processes_l1(store, other):
    theirs = asyncio.ensure_future(other("acquire", name="l", limit=30, times=40))
    mine = [await store.leases.acquire("l", f"mine-{n}", ttl_s=600, limit=30) for n in range(40)]
    assert sum(each is not None for each in mine) + await theirs == 30
    assert len(await store.leases.holders("l")) == 30
