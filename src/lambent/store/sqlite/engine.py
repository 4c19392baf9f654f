"""The embedded store: one SQLite file for documents, queue and leases; files for blobs and streams."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambent.model.clock import Clock
from lambent.store.blobs import FileBlobs
from lambent.store.contract import Unavailable
from lambent.store.files import sync_folder
from lambent.store.sqlite.alarms import Alarms
from lambent.store.sqlite.documents import SqliteDocuments
from lambent.store.sqlite.feed import ChangeFeed
from lambent.store.sqlite.leases import SqliteLeases
from lambent.store.sqlite.queue import SqliteQueue
from lambent.store.sqlite.reader import Readers
from lambent.store.sqlite.schema import connect, create_file, migrate, void_older_boots
from lambent.store.sqlite.upkeep import LOG_LIMIT_ROWS, Upkeep
from lambent.store.sqlite.writer import Committed, Writer
from lambent.store.streams.engine import SegmentStreams, open_streams

DATABASE_NAME: Final = "lambent.db"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_POLL_S: Final = 0.01
_CALM_POLL_S: Final = 0.1
_CALM_POLLS: Final = 200


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """The five primitives of one directory."""

    documents: SqliteDocuments
    queue: SqliteQueue
    leases: SqliteLeases
    blobs: FileBlobs
    streams: SegmentStreams
    writer: Writer

    @property
    def trouble(self) -> str | None:
        """Why writes fail at present, None while they work."""
        return self.writer.trouble


@asynccontextmanager
async def open_sqlite_store(
    path: Path,
    *,
    clock: Clock,
    stream_limit_bytes: int,
    log_limit_rows: int = LOG_LIMIT_ROWS,
    boot_id: str | None = None,
) -> AsyncIterator[SqliteStore]:
    """Yield the store of the directory ``path``, made if need be; leaving ends its threads and files.

    ``log_limit_rows`` bounds the history of changes that a watch can go back to. ``boot_id`` names the boot of this
    machine (None: the kernel's): leases of another one are void. Raises Refused for a newer schema.
    """
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        database = await loop.run_in_executor(None, _prepare, path, boot_id)
        blobs = await loop.run_in_executor(None, FileBlobs, path / "blobs")
        stack.push_async_callback(loop.run_in_executor, None, blobs.close)
        streams = await stack.enter_async_context(open_streams(path / "streams", limit_bytes=stream_limit_bytes))
        await loop.run_in_executor(None, sync_folder, path)
        readers = Readers(database)
        stack.push_async_callback(loop.run_in_executor, None, readers.close)
        alarms = Alarms(clock)
        stack.push_async_callback(alarms.close)
        feed = ChangeFeed(readers)
        stack.callback(feed.close)

        def told(committed: Committed) -> None:
            feed.push(committed.changes)
            queue.wake_at(committed.due)

        writer = Writer(database, clock, told, Upkeep(log_limit_rows))
        stack.push_async_callback(writer.close)
        queue = SqliteQueue(writer, readers, alarms, clock)
        poll = _Poll(readers, feed, queue, writer)
        stack.callback(poll.close)
        yield SqliteStore(
            SqliteDocuments(writer, readers, feed), queue, SqliteLeases(writer, readers, clock), blobs, streams, writer
        )


class _Poll:
    """Sees the commits of other processes: every 10 ms while anybody watches or waits, every 100 ms after 2 s of calm.

    It runs on real time, whatever clock was injected: it replaces a notice that SQLite does not send.
    """

    def __init__(self, readers: Readers, feed: ChangeFeed, queue: SqliteQueue, writer: Writer) -> None:
        self._readers, self._feed, self._queue, self._writer = readers, feed, queue, writer
        self._loop = asyncio.get_running_loop()
        self._version, self._calm = readers.version(), 0
        self._timer = self._loop.call_later(_POLL_S, self._look)

    def close(self) -> None:
        """Stop."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._feed.is_watched or self._queue.is_waited_for:
            try:
                version = self._readers.version()
            except sqlite3.Error:  # locked for a moment: look again
                version = self._version
            self._calm = 0 if version != self._version else self._calm + 1
            if version != self._version:
                self._version = version
                self._feed.refresh()
                if self._queue.is_waited_for:
                    self._writer.poke()
        self._timer = self._loop.call_later(_POLL_S if self._calm < _CALM_POLLS else _CALM_POLL_S, self._look)


def _prepare(path: Path, boot_id: str | None) -> Path:
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(path.parent)
    database = path / DATABASE_NAME
    create_file(database)
    try:
        db = connect(database)
        try:
            migrate(db)
            void_older_boots(db, _BOOT_ID.read_text().strip() if boot_id is None else boot_id)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise Unavailable(f"{database}: {error}") from error
    return database
