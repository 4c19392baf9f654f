"""The one thread of a process that writes ``lambent.db``: group commit, parked receivers, and what failure means."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from lambent.model.clock import Clock
from lambent.store.contract import StoreError, Unavailable, Unknown
from lambent.store.groups import GroupThread
from lambent.store.limits import mono_us, now_us
from lambent.store.sqlite.schema import BLOCKED, connect

log = structlog.get_logger(__name__)

LogRow = tuple[int, str, bytes | None]  # revision, key, encoded value
Outcome = tuple["Request", Any, BaseException | None]

PARKED: Final = object()  # what a claim returns that found nothing and may wait


@dataclass(slots=True)
class Transaction:
    """What an operation sees while it runs in the thread: the database, one instant, and where to say what it did."""

    db: sqlite3.Connection
    now_us: int
    mono_us: int
    changes: list[LogRow] = field(default_factory=list)
    queues: set[str] = field(default_factory=set)  # those in which something may have become visible, or later will
    _last_item: int = 0

    def next_item(self) -> int:
        """Return a number that no item ever had; a group reads and writes the last one once."""
        if not self._last_item:
            self._last_item = int(self.db.execute("SELECT v FROM meta WHERE k = 'item'").fetchone()[0])
        self._last_item += 1
        return self._last_item

    def finish(self) -> None:
        """Write what was kept until the end of the group."""
        if self._last_item:
            self.db.execute("UPDATE meta SET v = ? WHERE k = 'item'", (self._last_item,))


@dataclass(slots=True, eq=False)
class Request:
    """One operation that waits for its group. ``abandoned`` takes a result that nobody waits for any more.

    ``is_whole``: it refuses, if it does, before it has changed anything, so it needs no savepoint.
    """

    work: Callable[[Transaction], Any]
    future: "asyncio.Future[Any]"
    size: int = 0
    is_whole: bool = False
    parks_on: str | None = None  # the queue of a receive that may wait
    abandoned: Callable[[Any], None] | None = None


@dataclass(slots=True)
class Committed:
    """What a group leaves to be told on the loop."""

    outcomes: list[Outcome] = field(default_factory=list)
    changes: list[LogRow] = field(default_factory=list)
    due: dict[str, int] = field(default_factory=dict)  # per queue with a parked receiver: when its next item is due


class Writer:
    """Commits what is submitted, in groups; completes each request's future on the loop, after the commit."""

    def __init__(
        self, path: Path, clock: Clock, told: Callable[[Committed], None], upkeep: Callable[[Transaction], None]
    ) -> None:
        self.trouble: str | None = None
        self._path, self._clock, self._told, self._upkeep = path, clock, told, upkeep
        self._db: sqlite3.Connection | None = connect(path)
        self._parked: dict[str, deque[Request]] = {}
        self._loop = asyncio.get_running_loop()
        self._thread: GroupThread[Request] = GroupThread(
            "lambent-store", self._run_group, lambda request: request.size, on_stop=self._disconnect
        )

    async def run(self, work: Callable[[Transaction], Any], size: int = 0, *, is_whole: bool = False) -> Any:
        """Return what ``work`` returned in the thread, once its group is durable."""
        return await self.submit(Request(work, self._loop.create_future(), size, is_whole))

    def submit(self, request: Request) -> "asyncio.Future[Any]":
        """Hand over a request; return its future."""
        self._thread.submit(request)
        return request.future

    def withdraw(self, request: Request) -> None:
        """End a parked request with an empty result, unless it has one by now."""

        def leave(_: Transaction) -> None:
            if request.parks_on is not None and request in (parked := self._parked.get(request.parks_on, deque())):
                parked.remove(request)
                if not parked:
                    del self._parked[request.parks_on]
                self._loop.call_soon_threadsafe(_complete, (request, [], None))

        self.post(leave)

    def poke(self, queues: Sequence[str] | None = None) -> None:
        """Look again for what parked requests wait for, in these queues or in all."""

        def look(transaction: Transaction) -> None:
            transaction.queues.update(self._parked if queues is None else queues)

        self.post(look)

    def post(self, work: Callable[[Transaction], None]) -> None:
        """Have ``work`` done with the next group; nobody waits for it, and after the close it is dropped."""
        request = Request(work, self._loop.create_future())
        request.future.add_done_callback(_look_at)
        try:
            self._thread.submit(request)
        except Unavailable:
            log.debug("store_request_after_close")

    async def close(self) -> None:
        """Commit what was submitted, then end; parked requests end as Unavailable."""
        await self._thread.close()
        for request in [each for parked in self._parked.values() for each in parked]:
            _complete((request, None, Unavailable("the store was closed")))

    # --- in the thread --------------------------------------------------------------------------------------------

    def _run_group(self, group: list[Request]) -> Callable[[], None]:
        try:
            committed = self._commit(group)
        except Exception as error:
            log.exception("store_group_failed")
            self._roll_back()
            committed = self._fail(group, Unknown(f"the group failed: {error}"))
        return lambda: self._deliver(committed)

    def _commit(self, group: list[Request]) -> Committed:
        try:
            db = self._db = self._db or connect(self._path)
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return self._trouble(group, Unavailable(f"the store cannot write: {error}"), error)
        before, committed = db.total_changes, Committed()
        try:
            transaction = Transaction(db, now_us(self._clock), mono_us(self._clock))
            for request in group:
                result, failure = self._apply(transaction, request)
                if result is PARKED:
                    self._park(request, transaction)
                else:
                    committed.outcomes.append((request, result, failure))
            self._serve(transaction, committed)
            self._upkeep(transaction)
            transaction.finish()
        except sqlite3.Error as error:
            self._roll_back()
            return self._trouble(group, Unavailable(f"the store cannot write: {error}"), error, committed)
        try:
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._disconnect()
            return self._trouble(group, Unknown(f"the commit failed: {error}"), error, committed)
        if self.trouble is not None and db.total_changes != before:
            log.warning("store_writes_again", trouble=self.trouble)
            self.trouble = None
        committed.changes = transaction.changes
        return committed

    def _apply(self, transaction: Transaction, request: Request) -> tuple[Any, BaseException | None]:
        """Run one request in a savepoint of its own: what it refuses does not spoil its neighbours."""
        if request.is_whole:
            try:
                return request.work(transaction), None
            except StoreError as error:
                return None, error
        db, told = transaction.db, len(transaction.changes)
        db.execute("SAVEPOINT request")
        try:
            result, failure = request.work(transaction), None
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 -- the edge of one unit of work; it reaches the one who asked
            db.execute("ROLLBACK TO request")
            del transaction.changes[told:]
            result, failure = None, error
        db.execute("RELEASE request")
        return result, failure

    def _park(self, request: Request, transaction: Transaction) -> None:
        if request.parks_on is not None and not request.future.cancelled():
            self._parked.setdefault(request.parks_on, deque()).append(request)
            transaction.queues.add(request.parks_on)

    def _serve(self, transaction: Transaction, committed: Committed) -> None:
        """Hand what became visible to those who wait for it, in the commit that stores it."""
        for queue in [each for each in transaction.queues if each in self._parked]:
            parked = self._parked[queue]
            while parked:
                request = parked[0]
                if not request.future.cancelled():
                    result, failure = self._apply(transaction, request)
                    if result is PARKED:
                        break
                    committed.outcomes.append((request, result, failure))
                parked.popleft()
            if not parked:
                del self._parked[queue]
            else:
                due = transaction.db.execute("SELECT min(vis) FROM item WHERE q = ?", (queue,)).fetchone()[0]
                committed.due[queue] = BLOCKED if due is None else due

    def _trouble(
        self, group: list[Request], verdict: StoreError, cause: sqlite3.Error, committed: Committed | None = None
    ) -> Committed:
        if self.trouble is None:
            log.error("store_write_failed", reason=str(cause), verdict=type(verdict).__name__)
        self.trouble = str(verdict)
        # Receivers that were parked before this group and were served in it are not in `group`.
        served = [request for request, _, _ in committed.outcomes] if committed else []
        return self._fail(list(dict.fromkeys([*group, *served])), verdict)

    def _fail(self, requests: list[Request], verdict: StoreError) -> Committed:
        for request in requests:
            if request.parks_on in self._parked and request in self._parked[request.parks_on]:
                self._parked[request.parks_on].remove(request)
        return Committed(outcomes=[(request, None, verdict) for request in requests])

    def _roll_back(self) -> None:
        try:
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        try:
            if db is not None:
                db.close()
        except sqlite3.Error as error:
            log.warning("store_close_failed", reason=str(error))

    # --- on the loop ----------------------------------------------------------------------------------------------

    def _deliver(self, committed: Committed) -> None:
        self._told(committed)
        for outcome in committed.outcomes:
            _complete(outcome)


def _look_at(future: "asyncio.Future[Any]") -> None:
    """Take note of a failure that was said already, so that asyncio does not say it again."""
    if not future.cancelled():
        future.exception()


def _complete(outcome: Outcome) -> None:
    request, result, failure = outcome
    if request.future.done():
        if failure is None and request.abandoned is not None:
            request.abandoned(result)
    elif failure is None:
        request.future.set_result(result)
    else:
        request.future.set_exception(failure)
