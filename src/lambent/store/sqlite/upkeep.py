"""What the writer forgets in passing: old changes, old ids, space that nothing uses."""

from dataclasses import dataclass, field
from typing import Final

from lambent.store.limits import REMEMBERED_S
from lambent.store.sqlite.writer import Transaction

LOG_LIMIT_ROWS: Final = 100_000
LOG_LIMIT_S: Final = 3600
_EVERY_S: Final = 60
_EVERY_ROWS: Final = 1000
_AT_ONCE: Final = 2000  # rows or pages: a group waits for no more than that
_WORTH_PAGES: Final = 4096


@dataclass(slots=True)
class Upkeep:
    """Trims the log of changes to a number of rows and an age; forgets ids after a day. Once a minute, or when full."""

    log_limit_rows: int = LOG_LIMIT_ROWS
    log_limit_s: float = LOG_LIMIT_S
    _last_us: int = field(default=-1, init=False)
    _rows: int = field(default=0, init=False)

    def __call__(self, tx: Transaction) -> None:
        """Run in the writer's thread at the end of every group; mostly does nothing."""
        self._rows += len(tx.changes)
        is_due = self._last_us < 0 or tx.mono_us - self._last_us >= _EVERY_S * 1_000_000
        if not is_due and self._rows < min(_EVERY_ROWS, self.log_limit_rows):
            return
        oldest = tx.db.execute("SELECT rev, at FROM doc_log ORDER BY rev LIMIT ?", (_AT_ONCE,)).fetchall()
        newest = tx.db.execute("SELECT max(rev) FROM doc_log").fetchone()[0] or 0
        too_old_us = tx.now_us - round(self.log_limit_s * 1_000_000)
        kept = next(
            (i for i, (rev, at) in enumerate(oldest) if rev > newest - self.log_limit_rows and at >= too_old_us), -1
        )
        if expired := oldest[:kept] if kept >= 0 else oldest:
            tx.db.execute("DELETE FROM doc_log WHERE rev <= ?", (expired[-1][0],))
        forgotten_us = tx.now_us - REMEMBERED_S * 1_000_000
        ids = tx.db.execute(
            "DELETE FROM op WHERE id IN (SELECT id FROM op WHERE at <= ? LIMIT ?)", (forgotten_us, _AT_ONCE)
        )
        if int(tx.db.execute("PRAGMA freelist_count").fetchone()[0]) > _WORTH_PAGES:
            tx.db.execute(f"PRAGMA incremental_vacuum({_AT_ONCE})").fetchall()
        if len(expired) < _AT_ONCE and ids.rowcount < _AT_ONCE:  # else: more of it with the next group
            self._last_us, self._rows = tx.mono_us, 0
