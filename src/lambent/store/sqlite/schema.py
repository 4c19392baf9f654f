"""The tables of ``lambent.db``, how they came to be, and how connections are opened.

``user_version`` is the number of migrations that a file has seen. A newer file than this program knows is refused.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lambent.model.errors import Refused
from lambent.store.files import sync_folder
from lambent.store.write_ahead import use_write_ahead_log

APPLICATION_ID: Final = 0x6C616D62  # "lamb"
BUSY_TIMEOUT_MS: Final = 5000

# Items: `vis` is when an item may be delivered, in microseconds since 1970; an item that waits for an earlier one of
# its group has BLOCKED added. `rcpt` is odd while a delivery may be live, and is never the same twice for one `n`,
# which is never used again (`meta` keeps the last one): so no receipt ever means two deliveries. A body over 4 KiB
# lies apart, so that claiming and extending do not write it again.
# Documents: not WITHOUT ROWID, for there a value over 1,000 bytes would take a page of its own.
BLOCKED: Final = 1 << 61
INLINE_LIMIT_BYTES: Final = 4096

_FIRST: Final = """
CREATE TABLE meta(k TEXT PRIMARY KEY, v NOT NULL) WITHOUT ROWID;
CREATE TABLE doc(key TEXT NOT NULL PRIMARY KEY, rev INTEGER NOT NULL, val BLOB NOT NULL);
CREATE TABLE doc_log(rev INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, at INTEGER NOT NULL, val BLOB);
CREATE TABLE item(n INTEGER PRIMARY KEY, id TEXT, q TEXT NOT NULL, grp TEXT, vis INTEGER NOT NULL,
    attempt INTEGER NOT NULL, rcpt INTEGER NOT NULL, at INTEGER NOT NULL, body BLOB);
CREATE UNIQUE INDEX item_id ON item(q, id) WHERE id IS NOT NULL;
CREATE INDEX item_due ON item(q, vis);
CREATE INDEX item_grp ON item(q, grp, n) WHERE grp IS NOT NULL;
CREATE TABLE item_body(n INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE hold(name TEXT NOT NULL, holder TEXT NOT NULL, token INTEGER NOT NULL, n INTEGER NOT NULL,
    epoch INTEGER NOT NULL, exp INTEGER NOT NULL, linger INTEGER NOT NULL,
    PRIMARY KEY(name, holder, token)) WITHOUT ROWID;
CREATE INDEX hold_holder ON hold(holder);
CREATE TABLE holder(holder TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE op(id BLOB PRIMARY KEY, result BLOB, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX op_at ON op(at);
INSERT INTO meta VALUES('token', 0), ('item', 0);
"""

MIGRATIONS: Final[Sequence[str]] = (_FIRST,)


def create_file(path: Path) -> None:
    """Make an empty database that only its owner may read, durably; SQLite gives its other files the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        path.chmod(0o600)
    sync_folder(path.parent)


def connect(path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, synchronous: str = "FULL") -> sqlite3.Connection:
    """Open a connection with the store's settings. It may be used by one thread at a time, not only by this one."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    for pragma in (
        f"busy_timeout={busy_timeout_ms}",
        "auto_vacuum=INCREMENTAL",  # counts only before the first table
        # With NORMAL a power cut loses what was acknowledged since the last checkpoint, and no `kill -9` shows it.
        f"synchronous={synchronous}",
        "wal_autocheckpoint=4000",
        "journal_size_limit=67108864",
        "cache_size=-65536",
        "mmap_size=268435456",
        "temp_store=MEMORY",
    ):
        db.execute(f"PRAGMA {pragma}").fetchall()
    use_write_ahead_log(db)
    return db


def migrate(db: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the file to the newest schema in one transaction. Raises Refused for what is newer or not ours."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        application = int(db.execute("PRAGMA application_id").fetchone()[0])
        tables = int(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
        if application != APPLICATION_ID and (application or tables):
            raise Refused("state directory", "its lambent.db is not a database of Lambent", "name another directory")
        if version > len(migrations):
            raise Refused(
                "state directory",
                f"its schema has version {version}, this program knows {len(migrations)}",
                "install a newer Lambent, or name another directory",
            )
        for script in migrations[version:]:
            for statement in filter(None, map(str.strip, script.split(";"))):
                db.execute(statement)
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={len(migrations)}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def void_older_boots(db: sqlite3.Connection, boot_id: str) -> None:
    """End all leases of an earlier boot: their holders are dead, and monotonic time began anew."""
    db.execute("BEGIN IMMEDIATE")
    row = db.execute("SELECT v FROM meta WHERE k = 'boot_id'").fetchone()
    if row is None or row[0] != boot_id:
        db.execute("DELETE FROM hold")
        db.execute("INSERT OR REPLACE INTO meta VALUES('boot_id', ?)", (boot_id,))
    db.execute("COMMIT")
