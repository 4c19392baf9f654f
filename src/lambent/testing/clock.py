"""Time that stands still until a test moves it."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta


class FakeClock:
    """A ``Clock`` that only ``advance_s`` moves. Sleepers wake in order of their deadlines."""

    def __init__(self, start: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the start plus everything advanced so far."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def jump_s(self, seconds: float) -> None:
        """Move the wall clock alone, as when somebody sets it."""
        self._start += timedelta(seconds=seconds)

    def mono_s(self) -> float:
        """Return the seconds advanced so far."""
        return self._elapsed_s

    async def sleep_s(self, seconds: float) -> None:
        """Return once the clock was advanced by ``seconds``; yields once for zero or less."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, next(self._order), waiter))
        await waiter

    async def advance_s(self, seconds: float) -> None:
        """Move time on, waking each sleeper at his own instant and letting the loop run between two of them."""
        end_s = self._elapsed_s + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            due_s, _, waiter = heapq.heappop(self._sleepers)
            self._elapsed_s = max(self._elapsed_s, due_s)
            if not waiter.done():
                waiter.set_result(None)
            await self._settle()
        self._elapsed_s = end_s

    @property
    def sleeping(self) -> int:
        """How many tasks wait for this clock."""
        return sum(1 for _, _, waiter in self._sleepers if not waiter.done())

    async def _settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
