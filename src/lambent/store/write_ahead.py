"""How a connection begins to write ahead: the one setting that two openers of a new file can take from each other."""

import sqlite3
from typing import Final

TRIES: Final = 100  # each ends with somebody else's transaction: those who open a new file at once are few


def use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Have ``db`` write ahead; waits for another writer as long as its busy timeout says."""
    for left in reversed(range(TRIES)):
        try:
            db.execute("PRAGMA journal_mode=WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            # While another connection is about to write (the first one to come makes the tables), SQLite fails at
            # once, whatever the busy timeout: both could wait for each other. Beginning to write does wait.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not left:
                raise
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
