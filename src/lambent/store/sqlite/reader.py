"""Connections that only read: one on the loop for single rows by key, one in a thread for all else."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from lambent.store.contract import StoreError, Unavailable
from lambent.store.sqlite.schema import connect

T = TypeVar("T")


class Readers:
    """A point read takes about 10 µs, less than the way to a thread and back. It never waits for a lock."""

    def __init__(self, path: Path) -> None:
        self._near = connect(path, busy_timeout_ms=0)
        self._far = connect(path)
        for db in (self._near, self._far):
            db.execute("PRAGMA query_only=ON")
        self._thread = ThreadPoolExecutor(1, "lambent-store-read")

    async def point(self, query: str, parameters: tuple[Any, ...]) -> Any:
        """Return the one row of a query by key, or None."""
        try:
            return self._near.execute(query, parameters).fetchone()
        except sqlite3.OperationalError:  # a lock, for a moment: the thread may wait for it
            return await self.run(lambda db: db.execute(query, parameters).fetchone())

    def version(self) -> int:
        """Return a number that changes with every commit of anybody else's connection."""
        return int(self._near.execute("PRAGMA data_version").fetchone()[0])

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``work`` reads in the thread."""
        return await asyncio.wrap_future(self.start(work))

    def start(self, work: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Begin to read in the thread."""
        try:
            return self._thread.submit(self._read, work)
        except RuntimeError:
            raise Unavailable("the store is closed") from None

    def close(self) -> None:
        """End the thread and both connections; blocks while a read runs."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._near.close()
        self._far.close()

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._far)
        except StoreError:
            raise
        except sqlite3.Error as error:
            raise Unavailable(f"the store cannot read: {error}") from error
