"""Every engine, each with two independent clients of one place, on a clock that stands still until a test moves it."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from lambent.store.memory import MemoryStore
from lambent.store.sqlite.engine import open_sqlite_store
from lambent.testing.clock import FakeClock

LOG_LIMIT_ROWS = 200
STREAM_LIMIT_BYTES = 4 * 1024 * 1024


class MemoryPlace:
    """Both clients are one object; it is as durable as the test."""

    is_durable = False

    def __init__(self, clock):
        self.clock = clock
        self.first = self.second = MemoryStore(
            clock, log_limit_rows=LOG_LIMIT_ROWS, stream_limit_bytes=STREAM_LIMIT_BYTES
        )

    async def restart(self):
        """Nothing to do."""

    async def close(self):
        """Nothing to do."""


class SqlitePlace:
    """Two stores, each with its own connections and threads, on one directory."""

    is_durable = True

    def __init__(self, path, clock):
        self.path, self.clock = path, clock
        self._stack = AsyncExitStack()

    async def open(self):
        """Open both clients."""
        self.first, self.second = [
            await self._stack.enter_async_context(
                open_sqlite_store(
                    self.path, clock=self.clock, stream_limit_bytes=STREAM_LIMIT_BYTES, log_limit_rows=LOG_LIMIT_ROWS
                )
            )
            for _ in range(2)
        ]

    async def restart(self):
        """Close both clients and open them again."""
        await self.close()
        await self.open()

    async def close(self):
        """Close both clients."""
        await self._stack.aclose()


@pytest.fixture
def clock():
    """The store's clock."""
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
async def place(request, tmp_path, clock):
    """One place of one engine, with its clients ``first`` and ``second``."""
    if request.param == "memory":
        yield MemoryPlace(clock)
        return
    place = SqlitePlace(tmp_path / "state", clock)
    await place.open()
    yield place
    await place.close()


@pytest.fixture
def documents(place):
    """Documents of the first client."""
    return place.first.documents


@pytest.fixture
def queue(place):
    """Queues of the first client."""
    return place.first.queue


@pytest.fixture
def leases(place):
    """Leases of the first client."""
    return place.first.leases


@pytest.fixture
def streams(place):
    """Streams of the first client."""
    return place.first.streams


@pytest.fixture
def blobs(place):
    """Blobs of the first client."""
    return place.first.blobs


@pytest.fixture
def begun():
    """Start a coroutine and let it run until it waits for something else than the loop; ended with the test."""
    tasks = []

    async def begin(coroutine):
        task = asyncio.ensure_future(coroutine)
        tasks.append(task)
        for _ in range(20):
            await asyncio.sleep(0)
        return task

    yield begin
    for task in tasks:
        task.cancel()


@pytest.fixture
def advanced(clock):
    """Move time on in small steps until a task has ended; fail after ``at_most_s`` of the clock's time."""

    async def advance(task, at_most_s, step_s=0.01):
        for _ in range(round(at_most_s / step_s)):
            if task.done():
                break
            await clock.advance_s(step_s)
            await asyncio.sleep(0.001)  # other threads work in real time
        assert task.done(), f"still waiting after {at_most_s} s"
        return await task

    return advance
