"""Deadlines of all environments on one heap with one sleeper: setting and clearing one costs an assignment.

A timer that is set anew for every invocation stays where it is in the heap; when its old instant comes, it is put back
to its new one.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

import structlog

from lambent.model.clock import Clock

# Event loops keep time in milliseconds and may wake a little early: no shorter sleep, so none is repeated in a spin.
SHORTEST_SLEEP_S: Final = 0.001

log = structlog.get_logger(__name__)


class Timer:
    """One deadline that is set and cleared again and again. Calls ``callback`` when it is due."""

    __slots__ = ("_callback", "_deadlines", "_queued_mono_s", "due_mono_s")

    def __init__(self, deadlines: "Deadlines", callback: Callable[[], None]) -> None:
        self._deadlines = deadlines
        self._callback = callback
        self._queued_mono_s: float | None = None
        self.due_mono_s: float | None = None

    def set(self, due_mono_s: float) -> None:
        """Be due at ``due_mono_s``, whatever was set before."""
        self.due_mono_s = due_mono_s
        queued = self._queued_mono_s
        if queued is None or due_mono_s < queued:
            self._queued_mono_s = due_mono_s
            self._deadlines.queue(due_mono_s, self)

    def clear(self) -> None:
        """Be due no more."""
        self.due_mono_s = None

    def come(self, queued_mono_s: float, now_mono_s: float) -> None:
        """Its entry of ``queued_mono_s`` came up: fire, wait on, or be forgotten."""
        if queued_mono_s != self._queued_mono_s:  # an earlier entry took over
            return
        self._queued_mono_s = None
        due = self.due_mono_s
        if due is None:
            return
        if due > now_mono_s:
            self.set(due)
            return
        self.due_mono_s = None
        self._callback()


class Deadlines:
    """The heap and its sleeper. ``run`` belongs to the owner's task group."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._sleeper: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None

    def timer(self, callback: Callable[[], None]) -> Timer:
        """Return a timer that is not set."""
        return Timer(self, callback)

    def queue(self, due_mono_s: float, timer: Timer) -> None:
        """Have ``timer`` come up at ``due_mono_s``; used by timers."""
        heapq.heappush(self._heap, (due_mono_s, next(self._order), timer))
        if self._heap[0][2] is timer and self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def run(self) -> None:
        """Fire timers as they fall due, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._fire()
                self._wake = loop.create_future()
                if self._heap:
                    await self._sleep_until(self._heap[0][0], self._wake)
                else:
                    await self._wake
        finally:
            self._wake = None
            if self._sleeper is not None:
                self._sleeper.cancel()

    async def _sleep_until(self, due_mono_s: float, wake: asyncio.Future[None]) -> None:
        remaining_s = max(due_mono_s - self._clock.mono_s(), SHORTEST_SLEEP_S)
        self._sleeper = asyncio.get_running_loop().create_task(self._clock.sleep_s(remaining_s), name="deadlines")
        await asyncio.wait((self._sleeper, wake), return_when=asyncio.FIRST_COMPLETED)
        self._sleeper.cancel()

    def _fire(self) -> None:
        now = self._clock.mono_s()
        while self._heap and self._heap[0][0] <= now:
            queued_mono_s, _, timer = heapq.heappop(self._heap)
            try:
                timer.come(queued_mono_s, now)
            except Exception:  # the edge of one unit of work: the other deadlines must be kept
                log.exception("deadline_failed")
