"""A program that loads a store and prints what was acknowledged: to be killed, or to lose its disk, at any moment.

Usage: load.py DIRECTORY TAG KINDS SYNCHRONOUS. KINDS are letters: (q)ueue, (d)ocuments, (b)lobs, durable (S)treams,
(s)treams. A line is the kind and the name of what was acknowledged.
"""

import asyncio
import contextlib
import os
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import uvloop

from lambent.store.contract import Entry, QueueMessage, StoreError
from lambent.store.sqlite import schema, writer
from lambent.store.sqlite.engine import open_sqlite_store

CLIENTS = 16


class RealClock:
    """The machine's clock."""

    def now(self):
        """Return the wall clock."""
        return datetime.now(UTC)

    def mono_s(self):
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep_s(self, seconds):
        """Sleep."""
        await asyncio.sleep(seconds)


async def one(content):
    """Yield one chunk."""
    yield content


async def acknowledged(store, kind, name):
    """Write one thing; return its name when the store has acknowledged it."""
    match kind:
        case "q":
            return (await store.queue.enqueue("q", QueueMessage(b"x" * 100, id=name)))[0]
        case "d":
            await store.documents.put(f"d/{name}", name)
        case "b":
            return await store.blobs.put(one(name.encode()))
        case "S" | "s":
            stream, _, _ = f"{kind}/{name}".rpartition(".")
            await store.streams.append(stream, Entry(1, name.encode()), durable=kind == "S")
    return name


async def client(store, kind, tag):
    """Write for ever, one after the other."""
    count = 0
    with contextlib.suppress(StoreError):  # the disk was taken away
        while True:
            name = await acknowledged(store, kind, f"{tag}.{count}")
            os.write(1, f"{kind} {name}\n".encode())
            count += 1


async def main(directory, tag, kinds, synchronous):
    """Open the store, say so, and load it."""
    writer.connect = partial(schema.connect, synchronous=synchronous)
    async with open_sqlite_store(Path(directory), clock=RealClock(), stream_limit_bytes=1 << 28) as store:
        os.write(1, b"ready -\n")
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(client(store, kinds[number % len(kinds)], f"{tag}.{number}"))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
