"""The store in memory: the same contract, for tests. Durable as long as the object."""

import asyncio
import builtins
import itertools
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from typing_extensions import override

from lambent.model.clock import Clock
from lambent.store.contract import (
    ABSENT,
    ANY,
    Change,
    Conflict,
    Cursor,
    Delete,
    Delivery,
    Depth,
    Doc,
    Enqueue,
    Expect,
    Fenced,
    Holding,
    Json,
    NotOwner,
    OpId,
    Page,
    Put,
    QueueMessage,
    WatchLost,
)
from lambent.store.limits import (
    REMEMBERED_S,
    NewItem,
    Write,
    check_body,
    check_key,
    check_prefix,
    delay_us,
    mono_us,
    now_us,
    prepare_messages,
    prepare_operations,
)
from lambent.store.memory_files import MemoryBlobs, MemoryStreams

_LOG_LIMIT_ROWS: Final = 100_000
_STREAM_LIMIT_BYTES: Final = 64 * 1024 * 1024
_REMEMBERED_US: Final = REMEMBERED_S * 1_000_000


class MemoryStore:
    """The five primitives in one object; every client of it uses the same object. One event loop at a time."""

    def __init__(
        self, clock: Clock, *, stream_limit_bytes: int = _STREAM_LIMIT_BYTES, log_limit_rows: int = _LOG_LIMIT_ROWS
    ) -> None:
        self.leases = MemoryLeases(clock)
        self.queue = MemoryQueue(clock)
        self.documents = MemoryDocuments(clock, self.queue, self.leases, log_limit_rows)
        self.blobs = MemoryBlobs()
        self.streams = MemoryStreams(stream_limit_bytes)

    @property
    def trouble(self) -> str | None:
        """Nothing ever fails here."""
        return None


class MemoryDocuments:
    """``Documents`` in dictionaries."""

    def __init__(self, clock: Clock, queue: "MemoryQueue", leases: "MemoryLeases", log_limit_rows: int) -> None:
        self._clock, self._queue, self._leases = clock, queue, leases
        self._docs: dict[str, tuple[int, bytes]] = {}
        self._rev = 0
        self._log: deque[tuple[int, str, bytes | None]] = deque(maxlen=log_limit_rows)
        self._ops: dict[str, tuple[int, list[int]]] = {}
        self._bell = _Bell()

    async def find(self, key: str) -> Doc | None:
        """Return the document."""
        check_key(key)
        known = self._docs.get(key)
        return None if known is None else Doc(key, known[1], known[0])

    async def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Page:
        """Return a page of documents in order of keys (code points order as UTF-8 bytes do)."""
        check_prefix(prefix)
        keys = sorted(key for key in self._docs if key.startswith(prefix) and key > after)
        docs = tuple(Doc(key, self._docs[key][1], self._docs[key][0]) for key in keys[:limit])
        return Page(docs, docs[-1].key if len(keys) > limit else None, Cursor(str(self._rev)))

    async def transact(
        self, *ops: Put | Delete | Enqueue, fence: Holding | None = None, op: OpId | None = None
    ) -> builtins.list[int]:
        """Do all or nothing."""
        prepared = prepare_operations(ops)
        now = now_us(self._clock)
        if op is not None and op in self._ops and self._ops[op][0] > now - _REMEMBERED_US:
            return self._ops[op][1]
        if fence is not None and not self._leases.is_live(fence):
            raise Fenced(f"{fence.holder} does not hold {fence.name} any more (token {fence.token})")
        changes, revisions = self._decide(prepared)
        for rev, key, value in changes:
            self._log.append((rev, key, value))
            if value is None:
                del self._docs[key]
            else:
                self._docs[key] = (rev, value)
        self._rev += len(changes)
        for each in prepared:
            if isinstance(each, NewItem):
                self._queue.insert(each)
        if op is not None:
            self._ops[op] = (now, revisions)
        self._bell.ring()
        return revisions

    async def put(self, key: str, value: Json, *, expect: int | Expect = ANY, fence: Holding | None = None) -> int:
        """Write one document."""
        return (await self.transact(Put(key, value, expect), fence=fence))[0]

    async def delete(self, key: str, *, expect: int | Expect = ANY, fence: Holding | None = None) -> int:
        """Delete one document."""
        return (await self.transact(Delete(key, expect), fence=fence))[0]

    def watch(self, prefix: str, cursor: Cursor) -> AsyncIterator[Change]:
        """Yield every last state after ``cursor``, for ever."""
        if not cursor.isdecimal():
            raise WatchLost("this cursor is not of this store")
        return _Watch(self, check_prefix(prefix), int(cursor))

    async def after(self, cursor: int) -> builtins.list[tuple[int, str, bytes | None]]:
        """Return changes after ``cursor``, at least one; wait for it."""
        while True:
            oldest = self._log[0][0] if self._log else self._rev + 1
            if cursor > self._rev or cursor + 1 < oldest:
                raise WatchLost(f"the log of changes does not reach back to {cursor}")
            if cursor < self._rev:
                return [row for row in self._log if row[0] > cursor]
            await self._bell.wait()

    def _decide(
        self, ops: Sequence[Write | NewItem]
    ) -> tuple[builtins.list[tuple[int, str, bytes | None]], builtins.list[int]]:
        """Return what would change, and a number an operation; Conflict before anything has changed."""
        changes: builtins.list[tuple[int, str, bytes | None]] = []
        seen: dict[str, int | None] = {}
        revisions = []
        for op in ops:
            rev = 0
            if isinstance(op, Write):
                known = self._docs.get(op.key)
                current = seen.get(op.key, None if known is None else known[0])
                if op.expect is not ANY and current != (None if op.expect is ABSENT else op.expect):
                    raise Conflict(op.key, current)
                if op.value is not None or current is not None:
                    rev = self._rev + len(changes) + 1
                    changes.append((rev, op.key, op.value))
                    seen[op.key] = None if op.value is None else rev
            revisions.append(rev)
        return changes, revisions


class _Watch(AsyncIterator[Change]):
    def __init__(self, documents: MemoryDocuments, prefix: str, cursor: int) -> None:
        self._documents, self._prefix, self._cursor = documents, prefix, cursor
        self._ready: deque[Change] = deque()

    @override
    async def __anext__(self) -> Change:
        while not self._ready:
            rows = await self._documents.after(self._cursor)
            self._cursor = rows[-1][0]
            latest = {key: rev for rev, key, _ in rows}
            for rev, key, value in rows:
                if latest[key] == rev and key.startswith(self._prefix):
                    self._ready.append(Change(key, rev, value))
        return self._ready.popleft()


@dataclass(slots=True)
class _Item:
    """One item; ``receipt`` is odd while a delivery may be live."""

    number: int
    id: str
    is_named: bool
    group: str | None
    visible_us: int
    enqueued_us: int
    body: bytes
    attempt: int = 0
    receipt: int = 0


class MemoryQueue:
    """``Queue`` in dictionaries."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queues: dict[str, dict[int, _Item]] = {}
        self._named: dict[tuple[str, str], int] = {}  # enqueued at
        self._places: dict[int, str] = {}
        self._numbers = itertools.count(1)
        self._bell = _Bell()

    async def enqueue(self, queue: str, *messages: QueueMessage) -> list[str]:
        """Return the items' ids."""
        return [self.insert(item) for item in prepare_messages(queue, messages)]

    async def receive(self, queue: str, *, limit: int, visible_after_s: float, wait_s: float) -> list[Delivery]:
        """Return up to ``limit`` items; waits up to ``wait_s`` for the first."""
        check_key(queue)
        visible_us, ends_s = delay_us(visible_after_s), self._clock.mono_s() + wait_s
        while not (found := self._claim(queue, limit, visible_us)):
            left_s = ends_s - self._clock.mono_s()
            if left_s <= 1e-6:
                return []
            next_us = min((item.visible_us for item in self._heads(queue)), default=None)
            if next_us is not None:
                left_s = min(left_s, (next_us - now_us(self._clock)) / 1_000_000)
            await self._bell.wait_at_most(self._clock, left_s)
        return found

    async def ack(self, *deliveries: Delivery) -> None:
        """Remove items for ever, each for itself."""
        dead = []
        for delivery in deliveries:
            if (item := self._find(delivery)) is None:
                dead.append(delivery)
            else:
                del self._queues[self._places.pop(item.number)][item.number]
        self._bell.ring()
        if dead:
            raise NotOwner(f"{len(dead)} of {len(deliveries)} receipts are dead", dead)

    async def nak(self, delivery: Delivery, *, delay_s: float, body: bytes | None = None) -> None:
        """Give an item back."""
        delay = delay_us(delay_s)
        if body is not None:
            check_body(body)
        item = self._require(delivery)
        item.receipt += 1
        item.visible_us = now_us(self._clock) + delay
        item.body = item.body if body is None else body
        self._bell.ring()

    async def extend(self, delivery: Delivery, *, visible_after_s: float) -> None:
        """Keep an item for longer."""
        visible_us = delay_us(visible_after_s)
        self._require(delivery).visible_us = now_us(self._clock) + visible_us
        self._bell.ring()

    async def depth(self, queue: str) -> Depth:
        """Return the counts of a queue."""
        check_key(queue)
        now = now_us(self._clock)
        items = self._queues.get(queue, {}).values()
        visible = sum(item.visible_us <= now for item in items)
        in_flight = sum(item.visible_us > now and item.receipt % 2 for item in items)
        age_us = now - min((item.enqueued_us for item in items), default=now)
        return Depth(
            visible=visible,
            in_flight=in_flight,
            delayed=len(items) - visible - in_flight,
            oldest_age_s=max(0, age_us) / 1_000_000,
        )

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the queues below ``prefix`` that hold an item."""
        check_prefix(prefix)
        return sorted(name for name, items in self._queues.items() if items and name.startswith(prefix))

    async def hasten(self, queue: str) -> int:
        """Make every item that is delayed visible now."""
        check_key(queue)
        now = now_us(self._clock)
        delayed = [
            item for item in self._queues.get(queue, {}).values() if item.visible_us > now and item.receipt % 2 == 0
        ]
        for item in delayed:
            item.visible_us = now
        self._bell.ring()
        return len(delayed)

    async def purge(self, queue: str) -> int:
        """Remove every item."""
        check_key(queue)
        items = self._queues.pop(queue, {})
        for number in items:
            del self._places[number]
        return len(items)

    def insert(self, new: NewItem) -> str:
        """Store one item, unless its id was there within a day; return its id."""
        now, queue = now_us(self._clock), self._queues.setdefault(new.queue, {})
        if new.id is not None:
            known_us = self._named.get((new.queue, new.id))
            is_there = any(item.is_named and item.id == new.id for item in queue.values())
            if is_there or (known_us is not None and known_us > now - _REMEMBERED_US):
                return new.id
            self._named[new.queue, new.id] = now
        number = next(self._numbers)
        item = _Item(
            number, new.id or f"item-{number}", new.id is not None, new.group, now + new.delay_us, now, new.body
        )
        queue[number] = item
        self._places[number] = new.queue
        self._bell.ring()
        return item.id

    def _claim(self, queue: str, limit: int, visible_us: int) -> list[Delivery]:
        now = now_us(self._clock)
        due = [item for item in self._heads(queue) if item.visible_us <= now]
        due.sort(key=lambda item: item.visible_us)
        for item in due[:limit]:
            item.visible_us = now + visible_us
            item.attempt += 1
            item.receipt += 1 + item.receipt % 2
        return [
            Delivery(item.id, item.body, item.attempt, f"{item.number}.{item.receipt}")
            for item in sorted(due[:limit], key=lambda item: item.number)
        ]

    def _heads(self, queue: str) -> list[_Item]:
        """Return the items that wait for nobody: those without group, and the first of each group."""
        first: dict[str, int] = {}
        items = self._queues.get(queue, {}).values()
        for item in items:
            if item.group is not None:
                first.setdefault(item.group, item.number)
        return [item for item in items if item.group is None or first[item.group] == item.number]

    def _find(self, delivery: Delivery) -> _Item | None:
        number, _, receipt = delivery.receipt.partition(".")
        place = self._places.get(int(number)) if number.isdecimal() else None
        item = None if place is None else self._queues[place][int(number)]
        return item if item is not None and str(item.receipt) == receipt else None

    def _require(self, delivery: Delivery) -> _Item:
        if (item := self._find(delivery)) is None:
            raise NotOwner("the receipt is dead", [delivery])
        return item


@dataclass(slots=True)
class _Hold:
    """A row of a lease; it counts until ``ends_us + linger_us``."""

    holding: Holding
    ends_us: int
    linger_us: int


class MemoryLeases:
    """``Leases`` in a list per name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._holds: dict[str, list[_Hold]] = {}
        self._epochs: dict[str, int] = {}
        self._tokens = itertools.count(1)

    async def acquire(
        self,
        name: str,
        holder: str,
        *,
        ttl_s: float,
        amount: int = 1,
        limit: int = 1,
        partial: bool = False,
        linger_s: float = 0.0,
        epoch: int = 0,
    ) -> Holding | None:
        """Return the holder's whole holding of ``name``, grown by ``amount``; None where that would pass ``limit``."""
        if amount < 1:
            raise ValueError(f"an amount is at least 1: {amount}")
        check_key(name), check_key(holder)
        ttl, linger, now = delay_us(ttl_s), delay_us(linger_s), mono_us(self._clock)
        self._register(holder, epoch)
        holds = [each for each in self._holds.get(name, []) if each.ends_us + each.linger_us > now]
        self._holds[name] = holds
        free = limit - sum(each.holding.amount for each in holds)
        granted = min(amount, free) if partial else amount
        if granted < 1 or granted > free:
            return None
        live = next((each for each in holds if each.holding.holder == holder and each.ends_us > now), None)
        if live is not None:
            holds.remove(live)
        holding = Holding(
            name=name,
            holder=holder,
            amount=granted + (live.holding.amount if live else 0),
            token=live.holding.token if live else next(self._tokens),
            epoch=epoch,
            expires_at=self._clock.now() + timedelta(microseconds=ttl),
        )
        holds.append(_Hold(holding, now + ttl, linger))
        return holding

    async def renew(self, *holdings: Holding, ttl_s: float) -> list[bool]:
        """Move the ends to ``ttl_s`` from now; False for each that is not live."""
        ttl = delay_us(ttl_s)
        found = [self._live(each) for each in holdings]
        for hold in filter(None, found):
            hold.ends_us = mono_us(self._clock) + ttl
            hold.holding = replace(hold.holding, expires_at=self._clock.now() + timedelta(microseconds=ttl))
        return [hold is not None for hold in found]

    async def release(self, holding: Holding, amount: int | None = None) -> None:
        """Give back ``amount`` (None: all) at once, without lingering."""
        if (hold := self._live(holding)) is None:
            raise NotOwner(f"{holding.holder} does not hold {holding.name} any more (token {holding.token})")
        left = 0 if amount is None else hold.holding.amount - amount
        if left < 0 or (amount is not None and amount < 1):
            raise ValueError(
                f"{holding.holder} holds {hold.holding.amount} of {holding.name}, and cannot give back {amount}"
            )
        if left:
            hold.holding = replace(hold.holding, amount=left)
        else:
            self._holds[holding.name].remove(hold)

    async def holders(self, name: str) -> list[Holding]:
        """Return the live holdings of ``name``, by holder."""
        check_key(name)
        now = mono_us(self._clock)
        live = [each.holding for each in self._holds.get(name, []) if each.ends_us > now]
        return sorted(live, key=lambda holding: holding.holder)

    def is_live(self, holding: Holding) -> bool:
        """Whether a holding gives a right now."""
        return self._live(holding) is not None

    def _live(self, holding: Holding) -> _Hold | None:
        now = mono_us(self._clock)
        for each in self._holds.get(holding.name, []):
            known = each.holding
            if (known.holder, known.token, known.epoch) == (holding.holder, holding.token, holding.epoch):
                return each if each.ends_us > now else None
        return None

    def _register(self, holder: str, epoch: int) -> None:
        known = self._epochs.get(holder, 0)
        if epoch < known:
            raise Fenced(f"{holder} has epoch {known} by now, not {epoch}")
        if epoch > known:
            self._epochs[holder] = epoch
            for name, holds in self._holds.items():
                self._holds[name] = [
                    each for each in holds if each.holding.holder != holder or each.holding.epoch >= epoch
                ]


@dataclass(slots=True)
class _Bell:
    """Wakes everybody who waits."""

    _waiting: set["asyncio.Future[None]"] = field(default_factory=set)

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        waiter = self._waiter()
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    async def wait_at_most(self, clock: Clock, seconds: float) -> None:
        waiter = self._waiter()
        try:
            async with asyncio.TaskGroup() as group:
                sleeper = group.create_task(clock.sleep_s(seconds), name="store alarm")
                await asyncio.wait({waiter, sleeper}, return_when=asyncio.FIRST_COMPLETED)
                sleeper.cancel()
        finally:
            self._waiting.discard(waiter)

    def _waiter(self) -> "asyncio.Future[None]":
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        return waiter
