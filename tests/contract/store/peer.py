"""The other process: a client of one store that does what it is asked, in lines of JSON.

Usage: peer.py DIRECTORY.
"""

import asyncio
import json
import sys
from pathlib import Path

from lambent.store.contract import Conflict, QueueMessage
from lambent.store.sqlite.engine import open_sqlite_store
from lambent.testing.clock import FakeClock


async def count(store, key, times):
    """Add one so many times, each against the revision just read."""
    won = 0
    while won < times:
        doc = await store.documents.find(key)
        try:
            await store.documents.put(key, doc.value + 1, expect=doc.rev)
        except Conflict:
            continue
        won += 1
    return won


async def drain(store, queue):
    """Receive and acknowledge until nothing is left."""
    bodies = []
    while got := await store.queue.receive(queue, limit=5, visible_after_s=60, wait_s=0):
        bodies += [each.body.decode() for each in got]
        await store.queue.ack(*got)
    return bodies


async def acquire(store, name, limit, times):
    """Ask for one share so many times; return how many were granted."""
    asked = [await store.leases.acquire(name, f"peer-{n}", ttl_s=600, limit=limit) for n in range(times)]
    return sum(each is not None for each in asked)


async def put(store, key, value):
    """Write a document."""
    return await store.documents.put(key, value)


async def find(store, key):
    """Read a document."""
    return (await store.documents.find(key)).value


async def enqueue(store, queue, body):
    """Enqueue a text."""
    return await store.queue.enqueue(queue, QueueMessage(body.encode()))


async def main(directory):
    """Answer until the input ends."""
    commands = {each.__name__: each for each in (count, drain, acquire, put, find, enqueue)}
    loop = asyncio.get_running_loop()
    async with open_sqlite_store(Path(directory), clock=FakeClock(), stream_limit_bytes=1 << 24) as store:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command, arguments = json.loads(line)
            answer = await commands[command](store, **arguments)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
