"""What changed, to whoever watches: this process's commits are handed over, other processes' are read from the log."""

import asyncio
import bisect
import sqlite3
import weakref
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Final

import structlog
from typing_extensions import override

from lambent.store.contract import Change, Cursor, Unavailable, WatchLost
from lambent.store.sqlite.reader import Readers
from lambent.store.sqlite.writer import LogRow

log = structlog.get_logger(__name__)

_READ_AT_ONCE: Final = 1000
_TAIL_LIMIT_ROWS: Final = 10_000
_TAIL_LIMIT_BYTES: Final = 16 * 1024 * 1024


class ChangeFeed:
    """The newest part of the log in memory, while somebody watches; older parts are read from the file.

    The tail holds every change after ``_low`` up to ``_high``. Revisions of the log are dense, so a commit of ours
    that does not begin right after ``_high`` means that something is in the file that we have not seen.
    """

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._loop = asyncio.get_running_loop()
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._waiting: set[asyncio.Future[None]] = set()
        self._tail: list[LogRow] = []
        self._tail_bytes = 0
        self._low = self._high = -1  # -1: nobody has said yet where to begin
        self._is_reading = self._must_read_again = self._is_closed = False

    @property
    def is_watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watches)

    def watch(self, prefix: str, cursor: Cursor) -> "Watch":
        """Return a new watch; it ends when it is forgotten."""
        if not cursor.isdecimal():
            raise WatchLost("this cursor is not of this store")
        watch = Watch(self, prefix, int(cursor))
        self._watches.add(watch)
        return watch

    def push(self, rows: list[LogRow]) -> None:
        """Take the changes of one commit of this process."""
        if not self._watches:
            self._begin_at(-1)
        elif rows and self._high >= 0:
            if rows[0][0] <= self._high + 1:
                self._extend(rows)
            else:
                self.refresh()

    def refresh(self) -> None:
        """Read what is new in the file, in the thread."""
        if not self._watches or self._high < 0 or self._is_closed:
            return
        self._must_read_again = self._is_reading
        if not self._is_reading:
            self._is_reading, high = True, self._high
            reading = self._readers.start(lambda db: read_log(db, high))
            reading.add_done_callback(self._hand_over)

    async def after(self, cursor: int) -> list[LogRow]:
        """Return changes after ``cursor``, at least one; wait for it. Raises WatchLost."""
        while not self._is_closed:
            if 0 <= self._low <= cursor <= self._high:
                if cursor < self._high:
                    return self._tail[bisect.bisect_right(self._tail, cursor, key=lambda row: row[0]) :]
                waiter: asyncio.Future[None] = self._loop.create_future()
                self._waiting.add(waiter)
                try:
                    await waiter
                finally:
                    self._waiting.discard(waiter)
            elif rows := await self._readers.run(lambda db: read_log(db, cursor)):
                return rows
            elif self._high < cursor:
                self._begin_at(cursor)
                self.refresh()  # for what was committed since that read
        raise Unavailable("the store is closed")

    def close(self) -> None:
        """Wake all who wait; they find the store closed."""
        self._is_closed = True
        self._wake()

    def _hand_over(self, reading: "Future[list[LogRow]]") -> None:
        try:
            self._loop.call_soon_threadsafe(self._take, reading)
        except RuntimeError:  # the loop was closed meanwhile
            return

    def _take(self, reading: "Future[list[LogRow]]") -> None:
        self._is_reading = False
        if reading.cancelled():
            return
        if (error := reading.exception()) is not None:
            log.warning("store_changes_not_read", reason=str(error))
            self._begin_at(-1)  # each watch reads for itself, and meets the error
            self._wake()
            return
        rows = reading.result()
        self._extend(rows)
        if self._must_read_again or len(rows) == _READ_AT_ONCE:
            self.refresh()

    def _extend(self, rows: list[LogRow]) -> None:
        new = [row for row in rows if row[0] > self._high]
        if not new or self._high < 0:
            return
        self._tail += new
        self._tail_bytes += sum(len(value or b"") for _, _, value in new)
        self._high = new[-1][0]
        while len(self._tail) > _TAIL_LIMIT_ROWS or (self._tail_bytes > _TAIL_LIMIT_BYTES and len(self._tail) > 1):
            half = self._tail[: len(self._tail) // 2]
            del self._tail[: len(half)]
            self._tail_bytes -= sum(len(value or b"") for _, _, value in half)
            self._low = half[-1][0]
        self._wake()

    def _begin_at(self, revision: int) -> None:
        self._tail, self._tail_bytes = [], 0
        self._low = self._high = revision

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class Watch(AsyncIterator[Change]):
    """One watcher: what it has seen, and what it has read and not yet yielded."""

    def __init__(self, feed: ChangeFeed, prefix: str, cursor: int) -> None:
        self._feed, self._prefix, self._cursor = feed, prefix, cursor
        self._ready: deque[Change] = deque()

    @override
    def __aiter__(self) -> "Watch":
        return self

    @override
    async def __anext__(self) -> Change:
        while not self._ready:
            rows = await self._feed.after(self._cursor)
            self._cursor = rows[-1][0]
            latest = {key: rev for rev, key, _ in rows}
            for rev, key, value in rows:
                if latest[key] == rev and key.startswith(self._prefix):
                    self._ready.append(Change(key, rev, value))
        return self._ready.popleft()


def last_revision(db: sqlite3.Connection) -> int:
    """Return the revision of the newest change ever."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'doc_log'").fetchone()
    return 0 if row is None else int(row[0])


def read_log(db: sqlite3.Connection, cursor: int) -> list[LogRow]:
    """Return the next changes after ``cursor``; WatchLost where the log does not reach back to it."""
    db.execute("BEGIN")
    try:
        last = last_revision(db)
        oldest = db.execute("SELECT min(rev) FROM doc_log").fetchone()[0]
        if cursor > last or cursor + 1 < (last + 1 if oldest is None else oldest):
            raise WatchLost(f"the log of changes does not reach back to {cursor}")
        return db.execute(
            "SELECT rev, key, val FROM doc_log WHERE rev > ? ORDER BY rev LIMIT ?", (cursor, _READ_AT_ONCE)
        ).fetchall()
    finally:
        db.execute("COMMIT")
