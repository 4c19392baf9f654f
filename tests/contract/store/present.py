"""What a store really holds after a crash, by the letters of load.py. Usage: present.py DIRECTORY; prints lines."""

import asyncio
import sqlite3
import sys
from pathlib import Path

from lambent.store.contract import Corrupt
from lambent.store.sqlite.engine import open_sqlite_store
from lambent.testing.clock import FakeClock


async def present(directory):
    """Return ``(names, integrity)``: every ``kind name`` that can be read, and SQLite's own verdict."""
    names = set()
    async with open_sqlite_store(directory, clock=FakeClock(), stream_limit_bytes=1 << 28) as store:
        after = ""
        while after is not None:
            page = await store.documents.list("d/", after=after)
            names |= {f"d {doc.value}" for doc in page.docs}
            after = page.next
        for stream in await store.streams.names(""):
            position = None
            while True:
                part = await store.streams.read(stream, start_ms=0, end_ms=9, after=position)
                names |= {f"{stream[0]} {entry.body.decode()}" for entry in part.entries}
                if not part.has_more:
                    break
                position = part.last
        for path in directory.glob("blobs/??/*"):
            try:
                pieces = [piece async for piece in store.blobs.read(path.name)]
                names |= {f"b {path.name}"} if pieces else set()
            except Corrupt:
                continue
    database = sqlite3.connect(directory / "lambent.db")
    names |= {f"q {row[0]}" for row in database.execute("SELECT id FROM item")}
    integrity = database.execute("PRAGMA integrity_check").fetchone()[0]
    database.close()
    return names, integrity


if __name__ == "__main__":
    found, verdict = asyncio.run(present(Path(sys.argv[1])))
    sys.stdout.write("\n".join([f"integrity {verdict}", *sorted(found)]))
