"""Callbacks at instants of the injected clock: one task for all of them."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

from lambent.model.clock import Clock

_EARLY_S: Final = 1e-6  # sums of floating-point seconds


class Alarms:
    """Owns the task that sleeps until the next alarm; ``close`` ends it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._order = itertools.count()
        self._heap: list[tuple[float, int]] = []
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._task_until_s = 0.0

    def after_s(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after ``delay_s``; return what cancels that."""
        due_s, number = self._clock.mono_s() + max(delay_s, 0.0), next(self._order)
        self._callbacks[number] = callback
        heapq.heappush(self._heap, (due_s, number))
        if self._task is None or due_s < self._task_until_s:
            self._sleep_again()

        def cancel() -> None:
            self._callbacks.pop(number, None)
            if len(self._heap) > 2 * len(self._callbacks) + 256:  # most of it is cancelled
                self._heap = [alarm for alarm in self._heap if alarm[1] in self._callbacks]
                heapq.heapify(self._heap)

        return cancel

    async def close(self) -> None:
        """Forget all alarms and end the task."""
        self._callbacks.clear()
        self._heap.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _sleep_again(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task_until_s = self._heap[0][0]
        self._task = self._loop.create_task(self._run(), name="store alarms")

    async def _run(self) -> None:
        while self._heap:
            due_s, number = self._heap[0]
            if number not in self._callbacks:
                heapq.heappop(self._heap)
            elif due_s <= self._clock.mono_s() + _EARLY_S:
                heapq.heappop(self._heap)
                self._callbacks.pop(number)()
            else:
                self._task_until_s = due_s
                await self._clock.sleep_s(due_s - self._clock.mono_s())
        self._task = None
