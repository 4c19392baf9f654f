"""One segment file: a small SQLite database with the entries of all streams of some time.

SQLite gives what segments need and is hard to get right: torn writes are never seen, several processes append, and
an index that is on disk. Segments do not share a file with the documents, so that they can be bounded and thrown away.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambent.store.contract import Entry
from lambent.store.limits import after_prefix
from lambent.store.write_ahead import use_write_ahead_log

Row = tuple[int, int, bytes]  # number, at_ms, body

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS state(k INTEGER PRIMARY KEY CHECK (k = 1), sealed INTEGER NOT NULL, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS stream(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    entries INTEGER NOT NULL, bytes INTEGER NOT NULL, oldest INTEGER NOT NULL, newest INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS entry(stream INTEGER NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY(stream, n)) WITHOUT ROWID;
INSERT OR IGNORE INTO state VALUES(1, 0, 0);
"""
_COLUMNS: Final = 4
_INSERTS: Final = tuple(
    (size, f"INSERT INTO entry VALUES {', '.join(['(?, ?, ?, ?)'] * size)}")  # noqa: S608  of no value
    for size in (512, 64, 8, 1)
)


class Sealed(Exception):
    """The segment takes no more entries: another one does by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which entries of a stream a reader wants. ``after`` is the segment and number of the last one he has seen."""

    start_ms: int
    end_ms: int
    after: tuple[int, int] | None
    newest_first: bool

    def may_touch(self, segment: int) -> bool:
        """Whether a segment lies in the direction of reading."""
        if self.after is None:
            return True
        return segment <= self.after[0] if self.newest_first else segment >= self.after[0]

    def after_n(self, segment: int) -> int:
        """Return the number after which to read in a segment."""
        if self.after is not None and self.after[0] == segment:
            return self.after[1]
        return 1 << 62 if self.newest_first else 0


class Segment:
    """A connection to one segment; used by one thread at a time."""

    def __init__(self, path: Path, number: int, *, create: bool = False) -> None:
        self.path, self.number = path, number
        mode = "rwc" if create else "rw"  # never make anew what was evicted meanwhile
        if create:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
        )
        self._ids: dict[str, int] = {}
        self._is_synced = True
        for pragma in (
            "busy_timeout=5000",
            "auto_vacuum=INCREMENTAL",
            "synchronous=NORMAL",
            "wal_autocheckpoint=500",
            "journal_size_limit=1048576",
            "cache_size=-4096",
        ):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        use_write_ahead_log(self._db)
        if create:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        self._db.execute("SELECT sealed FROM state").fetchone()  # fails here for what is no segment

    def append(self, batches: Sequence[tuple[str, Sequence[Entry]]], *, durable: bool) -> None:
        """Append in one transaction; Sealed where that is over. ``durable``: synced before it returns."""
        db = self._db
        # With FULL a commit syncs the write-ahead log: this one's, and all that came before it.
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")
        try:
            sealed, n = db.execute("SELECT sealed, n FROM state").fetchone()
            if sealed:
                raise Sealed
            values: list[object] = []
            for name, entries in batches:
                stream = self._count(name, entries)
                for entry in entries:
                    n += 1
                    values += (stream, n, entry.at_ms, entry.body)
            self._insert(values)
            db.execute("UPDATE state SET n = ?", (n,))
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
                self._ids.clear()
        self._is_synced = durable

    def _insert(self, values: Sequence[object]) -> None:
        # Many rows a statement: the interpreter's lock changes hands at every one, and with it the loop's thread stops.
        start = 0
        for rows, statement in _INSERTS:
            size = rows * _COLUMNS
            while len(values) - start >= size:
                self._db.execute(statement, values[start : start + size])
                start += size

    def sync(self) -> None:
        """Make durable what was appended."""
        if not self._is_synced:
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("UPDATE state SET n = n")
            self._is_synced = True

    def seal(self) -> None:
        """Take no more entries, from anybody."""
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("UPDATE state SET sealed = 1")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._is_synced = True

    def read(self, name: str, span: Span) -> Iterator[Row]:
        """Yield the entries of a stream that lie in ``span``."""
        known = self._db.execute("SELECT id, oldest, newest FROM stream WHERE name = ?", (name,)).fetchone()
        if known is None or known[2] < span.start_ms or known[1] >= span.end_ms:
            return
        compare, order = ("<", "DESC") if span.newest_first else (">", "ASC")
        rows = self._db.execute(
            f"SELECT n, at, body FROM entry WHERE stream = ? AND n {compare} ? AND at >= ? AND at < ? "  # noqa: S608
            f"ORDER BY n {order}",
            (known[0], span.after_n(self.number), span.start_ms, span.end_ms),
        )
        try:
            yield from rows
        finally:
            rows.close()  # else its snapshot stays open, and the log cannot be checkpointed

    def drop(self, name: str, before_ms: int | None) -> int:
        """Forget entries of a stream before an instant (None: all); return how many it forgot."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            known = db.execute("SELECT id, oldest, newest, entries FROM stream WHERE name = ?", (name,)).fetchone()
            if known is None or (before_ms is not None and known[1] >= before_ms):
                return 0
            stream, _, newest, entries = known
            if before_ms is None or newest < before_ms:
                db.execute("DELETE FROM entry WHERE stream = ?", (stream,))
                db.execute("DELETE FROM stream WHERE id = ?", (stream,))
                self._ids.pop(name, None)
                dropped = int(entries)
            else:
                dropped = db.execute("DELETE FROM entry WHERE stream = ? AND at < ?", (stream, before_ms)).rowcount
                db.execute(
                    """UPDATE stream SET (entries, bytes, oldest) =
                       (SELECT count(*), total(length(body)), min(at) FROM entry WHERE stream = ?1) WHERE id = ?1""",
                    (stream,),
                )
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        if dropped > 1000:
            db.execute("PRAGMA incremental_vacuum").fetchall()
        return dropped

    def names(self, prefix: str) -> list[tuple[str, int, int, int]]:
        """Return name, entries, bytes and oldest instant of the streams below ``prefix``."""
        end = after_prefix(prefix)
        below, bound = ("", ()) if end is None else (" AND name < ?", (end,))
        return self._db.execute(
            f"SELECT name, entries, bytes, oldest FROM stream WHERE name >= ?{below}",  # noqa: S608
            (prefix, *bound),
        ).fetchall()

    def entries(self) -> int:
        """Return how many entries it holds."""
        return int(self._db.execute("SELECT ifnull(sum(entries), 0) FROM stream").fetchone()[0])

    def is_sealed(self) -> bool:
        """Whether it takes no more entries."""
        return bool(self._db.execute("SELECT sealed FROM state").fetchone()[0])

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _count(self, name: str, entries: Sequence[Entry]) -> int:
        """Note new entries of a stream; return its number."""
        instants = [entry.at_ms for entry in entries]
        values = (len(entries), sum(len(entry.body) for entry in entries), min(instants), max(instants))
        update = """UPDATE stream SET entries = entries + ?, bytes = bytes + ?, oldest = min(oldest, ?),
                    newest = max(newest, ?) WHERE id = ?"""
        # Another process may have dropped the stream that we knew by this number; numbers are not used again.
        known = self._ids.get(name)
        if known is None or self._db.execute(update, (*values, known)).rowcount == 0:
            self._db.execute("INSERT OR IGNORE INTO stream VALUES(NULL, ?, 0, 0, ?, ?)", (name, *values[2:]))
            known = int(self._db.execute("SELECT id FROM stream WHERE name = ?", (name,)).fetchone()[0])
            self._ids[name] = known
            self._db.execute(update, (*values, known))
        return known
