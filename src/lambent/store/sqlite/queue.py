"""Queues in SQLite. A receiver that waits is parked in the writer's thread and served in the commit that stores."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from lambent.model.clock import Clock
from lambent.store.contract import Delivery, Depth, NotOwner, QueueMessage
from lambent.store.limits import check_body, check_key, check_prefix, delay_us, now_us, prepare_messages
from lambent.store.sqlite import deliveries as operations
from lambent.store.sqlite.alarms import Alarms
from lambent.store.sqlite.reader import Readers
from lambent.store.sqlite.schema import BLOCKED
from lambent.store.sqlite.writer import PARKED, Request, Transaction, Writer


class SqliteQueue:
    """``Queue`` over a writer, readers and alarms."""

    def __init__(self, writer: Writer, readers: Readers, alarms: Alarms, clock: Clock) -> None:
        self._writer, self._readers, self._alarms, self._clock = writer, readers, alarms, clock
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._due: dict[str, tuple[int, Callable[[], None]]] = {}

    @property
    def is_waited_for(self) -> bool:
        """Whether any receiver of this process waits."""
        return self._waiting > 0

    async def enqueue(self, queue: str, *messages: QueueMessage) -> list[str]:
        """Return the items' ids once they are durable."""
        prepared = prepare_messages(queue, messages)
        size = sum(len(item.body) for item in prepared)
        ids: list[str] = await self._writer.run(lambda tx: operations.insert_items(tx, prepared), size, is_whole=True)
        return ids

    async def receive(self, queue: str, *, limit: int, visible_after_s: float, wait_s: float) -> list[Delivery]:
        """Return up to ``limit`` items; waits up to ``wait_s`` for the first."""
        check_key(queue)
        visible_us, may_wait = delay_us(visible_after_s), wait_s > 0

        def work(tx: Transaction) -> object:
            found = operations.claim(tx, queue, limit, visible_us)
            return [] if found is PARKED and not may_wait else found

        request = Request(
            work,
            self._loop.create_future(),
            is_whole=True,
            parks_on=queue if may_wait else None,
            abandoned=self._give_back,
        )
        cancel_alarm = self._alarms.after_s(wait_s, lambda: self._writer.withdraw(request)) if may_wait else None
        self._waiting += 1
        try:
            deliveries: list[Delivery] = await self._writer.submit(request)
        except asyncio.CancelledError:
            if request.future.cancelled():
                self._writer.withdraw(request)
            elif request.future.done() and request.future.exception() is None:
                self._give_back(request.future.result())
            raise
        finally:
            self._waiting -= 1
            if cancel_alarm is not None:
                cancel_alarm()
        return deliveries

    async def ack(self, *deliveries: Delivery) -> None:
        """Remove items for ever, each for itself."""
        if dead := await self._writer.run(lambda tx: operations.ack(tx, deliveries), is_whole=True):
            raise NotOwner(f"{len(dead)} of {len(deliveries)} receipts are dead", dead)

    async def nak(self, delivery: Delivery, *, delay_s: float, body: bytes | None = None) -> None:
        """Give an item back, visible after ``delay_s``, with a new body if given."""
        delay, size = delay_us(delay_s), 0 if body is None else len(check_body(body))
        if not await self._writer.run(lambda tx: operations.nak(tx, delivery, delay, body), size):
            raise NotOwner("the receipt is dead", [delivery])

    async def extend(self, delivery: Delivery, *, visible_after_s: float) -> None:
        """Keep an item for ``visible_after_s`` from now."""
        visible_us = delay_us(visible_after_s)
        if not await self._writer.run(lambda tx: operations.extend(tx, delivery, visible_us)):
            raise NotOwner("the receipt is dead", [delivery])

    async def depth(self, queue: str) -> Depth:
        """Return the counts of a queue."""
        check_key(queue)
        return await self._readers.run(lambda db: operations.depth(db, queue, now_us(self._clock)))

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the queues below ``prefix`` that hold an item."""
        check_prefix(prefix)
        return await self._readers.run(lambda db: operations.names(db, prefix))

    async def hasten(self, queue: str) -> int:
        """Make every item that is delayed visible now."""
        check_key(queue)
        hastened: int = await self._writer.run(lambda tx: operations.hasten(tx, queue), is_whole=True)
        return hastened

    async def purge(self, queue: str) -> int:
        """Remove every item."""
        check_key(queue)
        purged: int = await self._writer.run(lambda tx: operations.purge(tx, queue), is_whole=True)
        return purged

    def wake_at(self, due: Mapping[str, int]) -> None:
        """Remember when the next item of each of these queues, which have parked receivers, is due."""
        for queue, due_us in due.items():
            known = self._due.get(queue)
            if known is not None and known[0] != due_us:
                known[1]()
                del self._due[queue]
            if (known is None or known[0] != due_us) and due_us < BLOCKED:
                delay_s = (due_us - now_us(self._clock)) / 1_000_000
                self._due[queue] = (due_us, self._alarms.after_s(delay_s, partial(self._ring, queue)))

    def _ring(self, queue: str) -> None:
        self._due.pop(queue, None)
        self._writer.poke([queue])

    def _give_back(self, deliveries: list[Delivery]) -> None:
        if deliveries:
            self._writer.post(lambda tx: operations.give_back(tx, deliveries))
