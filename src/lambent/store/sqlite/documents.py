"""Documents in SQLite: point reads on the loop, lists in a thread, writes through the writer."""

import builtins
import sqlite3
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from lambent.store.contract import (
    ABSENT,
    ANY,
    Change,
    Conflict,
    Cursor,
    Delete,
    Doc,
    Enqueue,
    Expect,
    Fenced,
    Holding,
    Json,
    OpId,
    Page,
    Put,
)
from lambent.store.limits import (
    REMEMBERED_S,
    NewItem,
    Write,
    after_prefix,
    check_key,
    check_prefix,
    prepare_operations,
    size_bytes,
)
from lambent.store.sqlite.deliveries import insert_item
from lambent.store.sqlite.feed import ChangeFeed, last_revision
from lambent.store.sqlite.reader import Readers
from lambent.store.sqlite.writer import Transaction, Writer

_FIND: Final = "SELECT val, rev FROM doc WHERE key = ?"
_PUT: Final = """INSERT INTO doc(key, rev, val) VALUES(?, ?, ?)
ON CONFLICT(key) DO UPDATE SET rev = excluded.rev, val = excluded.val"""


class SqliteDocuments:
    """``Documents`` over a writer, readers and the feed of changes."""

    def __init__(self, writer: Writer, readers: Readers, feed: ChangeFeed) -> None:
        self._writer, self._readers, self._feed = writer, readers, feed

    async def find(self, key: str) -> Doc | None:
        """Return the document, as of every write acknowledged before."""
        check_key(key)
        row = await self._readers.point(_FIND, (key,))
        return None if row is None else Doc(key, row[0], row[1])

    async def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Page:
        """Return one consistent snapshot of up to ``limit`` documents."""
        check_prefix(prefix)
        return await self._readers.run(lambda db: _list(db, prefix, after, limit))

    async def transact(
        self, *ops: Put | Delete | Enqueue, fence: Holding | None = None, op: OpId | None = None
    ) -> builtins.list[int]:
        """Do all or nothing; return a number an operation."""
        prepared = prepare_operations(ops)
        size = sum(size_bytes(each) for each in prepared)
        is_whole = len(prepared) == 1 and op is None
        revisions: builtins.list[int] = await self._writer.run(
            lambda tx: transact(tx, prepared, fence, op), size, is_whole=is_whole
        )
        return revisions

    async def put(self, key: str, value: Json, *, expect: int | Expect = ANY, fence: Holding | None = None) -> int:
        """Write one document; return its revision."""
        return (await self.transact(Put(key, value, expect), fence=fence))[0]

    async def delete(self, key: str, *, expect: int | Expect = ANY, fence: Holding | None = None) -> int:
        """Delete one document; return the revision of the deletion, 0 if there was nothing."""
        return (await self.transact(Delete(key, expect), fence=fence))[0]

    def watch(self, prefix: str, cursor: Cursor) -> AsyncIterator[Change]:
        """Yield every last state after ``cursor``, for ever."""
        return self._feed.watch(check_prefix(prefix), cursor)


def transact(tx: Transaction, ops: list[Write | NewItem], fence: Holding | None, op: OpId | None) -> list[int]:
    """Apply a transaction, or return what it did when it was applied before under the same ``op``."""
    name = None if op is None else b"t\0" + op.encode()
    if name is not None and (
        row := tx.db.execute(
            "SELECT result FROM op WHERE id = ? AND at > ?", (name, tx.now_us - REMEMBERED_S * 1_000_000)
        ).fetchone()
    ):
        done: list[int] = msgspec.json.decode(row[0])
        return done
    if fence is not None:
        _require_live(tx, fence)
    revisions = [write(tx, each) if isinstance(each, Write) else _insert(tx, each) for each in ops]
    if name is not None:
        tx.db.execute("INSERT OR REPLACE INTO op VALUES(?, ?, ?)", (name, msgspec.json.encode(revisions), tx.now_us))
    return revisions


def write(tx: Transaction, change: Write) -> int:
    """Put or delete one document; Conflict where it is not what is expected."""
    key, value, expect = change.key, change.value, change.expect
    if expect is not ANY or value is None:
        row = tx.db.execute("SELECT rev FROM doc WHERE key = ?", (key,)).fetchone()
        current = None if row is None else int(row[0])
        if expect is not ANY and current != (None if expect is ABSENT else expect):
            raise Conflict(key, current)
        if value is None and current is None:
            return 0
    rev = tx.db.execute("INSERT INTO doc_log(key, at, val) VALUES(?, ?, ?)", (key, tx.now_us, value)).lastrowid or 0
    if value is None:
        tx.db.execute("DELETE FROM doc WHERE key = ?", (key,))
    else:
        tx.db.execute(_PUT, (key, rev, value))
    tx.changes.append((rev, key, value))
    return rev


def _insert(tx: Transaction, item: NewItem) -> int:
    insert_item(tx, item)
    return 0


def _require_live(tx: Transaction, fence: Holding) -> None:
    row = tx.db.execute(
        "SELECT 1 FROM hold WHERE name = ? AND holder = ? AND token = ? AND epoch = ? AND exp > ?",
        (fence.name, fence.holder, fence.token, fence.epoch, tx.mono_us),
    ).fetchone()
    if row is None:
        raise Fenced(f"{fence.holder} does not hold {fence.name} any more (token {fence.token})")


def _list(db: sqlite3.Connection, prefix: str, after: str, limit: int) -> Page:
    end = after_prefix(prefix)
    below, bound = ("", ()) if end is None else (" AND key < ?", (end,))
    db.execute("BEGIN")
    try:
        cursor = Cursor(str(last_revision(db)))
        rows = db.execute(
            f"SELECT key, val, rev FROM doc WHERE key >= ? AND key > ?{below} ORDER BY key LIMIT ?",  # noqa: S608
            (prefix, after, *bound, limit + 1),
        ).fetchall()
    finally:
        db.execute("COMMIT")
    docs = tuple(Doc(key, value, rev) for key, value, rev in rows[:limit])
    return Page(docs, docs[-1].key if len(rows) > limit else None, cursor)
