"""A queue that kills its own process at one certain write: what a power cut at the worst moment would do."""

import os
import signal
from collections.abc import Awaitable
from typing import NoReturn, TypeVar

from lambent.store.contract import Delivery, Depth, Queue, QueueMessage

_T = TypeVar("_T")


class DyingQueue:
    """``Queue`` over another, whose n-th write is the last; ``is_done`` tells whether that one still takes effect."""

    def __init__(self, queue: Queue, fatal_write: int, *, is_done: bool) -> None:
        self._queue, self._writes_left, self._is_done = queue, fatal_write, is_done

    async def enqueue(self, queue: str, *messages: QueueMessage) -> list[str]:
        """Return the items' ids once they are durable."""
        return await self._write(self._queue.enqueue(queue, *messages))

    async def receive(self, queue: str, *, limit: int, visible_after_s: float, wait_s: float) -> list[Delivery]:
        """Return up to ``limit`` items."""
        return await self._write(
            self._queue.receive(queue, limit=limit, visible_after_s=visible_after_s, wait_s=wait_s)
        )

    async def ack(self, *deliveries: Delivery) -> None:
        """Remove items for ever."""
        await self._write(self._queue.ack(*deliveries))

    async def nak(self, delivery: Delivery, *, delay_s: float, body: bytes | None = None) -> None:
        """Give an item back."""
        await self._write(self._queue.nak(delivery, delay_s=delay_s, body=body))

    async def extend(self, delivery: Delivery, *, visible_after_s: float) -> None:
        """Keep an item for longer."""
        await self._write(self._queue.extend(delivery, visible_after_s=visible_after_s))

    async def depth(self, queue: str) -> Depth:
        """Return the counts of a queue."""
        return await self._queue.depth(queue)

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the queues below ``prefix`` that hold an item."""
        return await self._queue.names(prefix)

    async def hasten(self, queue: str) -> int:
        """Make every item that is delayed visible now."""
        return await self._write(self._queue.hasten(queue))

    async def purge(self, queue: str) -> int:
        """Remove every item."""
        return await self._write(self._queue.purge(queue))

    async def _write(self, writing: Awaitable[_T]) -> _T:
        self._writes_left -= 1
        if self._writes_left == 0 and not self._is_done:
            _die()
        result = await writing
        if self._writes_left <= 0:
            _die()
        return result


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
