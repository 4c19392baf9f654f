"""The SQLite store beside a bare loop of autocommit INSERTs on the same disk: the ratios of its target table.

Usage: python -m benchmarks.store [--rounds N] [--directory DIR] [--json FILE]. Every round measures the baseline and
each subject once, so that the machine's drift meets all alike; a ratio is the median of the rounds' ratios.
"""

import argparse
import asyncio
import itertools
import json
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import uvloop

from lambent.assembly.clock import SystemClock
from lambent.store.contract import Change, Entry, QueueMessage
from lambent.store.sqlite.engine import SqliteStore, open_sqlite_store

BODY = b"x" * 1024
VALUE = {"text": "x" * 1000}
SECONDS = 0.6  # of each measurement, about


@dataclass(frozen=True, slots=True)
class Target:
    """One cell of the table. ``at_least``: a rate over the baseline's; else a latency in the baseline's commits."""

    name: str
    limit: float
    at_least: bool


TARGETS = (
    Target("enqueue, 1 client", 0.45, True),
    Target("enqueue, 64 clients", 7, True),
    Target("enqueue, batches of 100", 12, True),
    Target("receive 10 + ack, 8 workers", 3, True),
    Target("put, 64 clients", 3.5, True),
    Target("put p50, in commits", 2, False),
    Target("find, 64 clients", 18, True),
    Target("enqueue to delivered p50, in commits", 5, False),
    Target("acquire + release p50, in commits", 3.5, False),
    Target("acquire + release, 16 clients on one name", 2, True),
    Target("watch p50 in a process, in commits", 2, False),
    Target("watch p50 across clients, in milliseconds", 10, False),
    Target("loop p99 later by 10,000 appends/s, in milliseconds", 1, False),
)


def baseline(directory: Path) -> float:
    """Return commits a second of sequential autocommit INSERTs."""
    db = sqlite3.connect(directory / "baseline.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE IF NOT EXISTS t(body BLOB)"):
        db.execute(statement)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        db.execute("INSERT INTO t VALUES(?)", (BODY,))
        count += 1
    took = time.perf_counter() - begun
    db.close()
    return count / took


async def rate(clients: int, once: Callable[[], Awaitable[int]]) -> float:
    """Return what ``once`` counts, a second, by so many clients."""
    total, ends = 0, time.perf_counter() + SECONDS

    async def client() -> None:
        nonlocal total
        while time.perf_counter() < ends:
            count = await once()  # before the sum is read: others count meanwhile
            total += count

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return total / (time.perf_counter() - begun)


async def median_s(times: int, once: Callable[[], Awaitable[float | None]]) -> float:
    """Return the median of what ``once`` took, or says it took."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        said = await once()
        took.append(time.perf_counter() - begun if said is None else said)
    return statistics.median(took)


class Subjects:
    """The measurements, on one store and a second client of it."""

    def __init__(self, store: SqliteStore, other: SqliteStore) -> None:
        self.store, self.other = store, other
        self._numbers = itertools.count()

    async def enqueue(self, messages: int) -> int:
        """Enqueue so many in one call."""
        await self.store.queue.enqueue("load", *(QueueMessage(BODY) for _ in range(messages)))
        return messages

    async def receive(self) -> int:
        """Receive ten and acknowledge them."""
        got = await self.store.queue.receive("full", limit=10, visible_after_s=60, wait_s=0)
        await self.store.queue.ack(*got)
        return len(got)

    async def put(self) -> int:
        """Put one of a thousand documents."""
        await self.store.documents.put(f"doc/{next(self._numbers) % 1000}", VALUE)
        return 1

    async def find(self) -> int:
        """Find one of them."""
        await self.store.documents.find(f"doc/{next(self._numbers) % 1000}")
        if next(self._numbers) % 64 == 0:
            await asyncio.sleep(0)
        return 1

    async def lease(self, holder: str, limit: int) -> int:
        """Acquire and release."""
        holding = await self.store.leases.acquire("lease", holder, ttl_s=60, limit=limit)
        if holding is not None:
            await self.store.leases.release(holding)
        return 1

    async def delivered(self) -> float:
        """Return the seconds from an enqueue to the delivery to a waiting receiver."""
        waiting = asyncio.ensure_future(self.store.queue.receive("hop", limit=1, visible_after_s=60, wait_s=30))
        await self.put()  # after that commit the receiver is parked
        begun = time.perf_counter()
        enqueuing = asyncio.ensure_future(self.store.queue.enqueue("hop", QueueMessage(BODY)))
        (got,) = await waiting
        took = time.perf_counter() - begun
        await enqueuing
        await self.store.queue.ack(got)
        return took

    async def watched(self, watch: AsyncIterator[Change]) -> float:
        """Return the seconds from a put to the change that a watch yields."""
        arriving = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.001)
        begun = time.perf_counter()
        putting = asyncio.ensure_future(self.store.documents.put("watched", next(self._numbers)))
        await arriving
        took = time.perf_counter() - begun
        await putting
        return took

    async def stall_ms(self) -> float:
        """Return by how much 10,000 appends a second raise the p99 of how late the loop is, in milliseconds."""
        return await self._late_ms(20) - await self._late_ms(0)

    async def _late_ms(self, appends: int) -> float:
        late: list[float] = []
        done = False

        async def feel() -> None:
            while not done:
                begun = time.perf_counter()
                await asyncio.sleep(0.002)
                late.append((time.perf_counter() - begun - 0.002) * 1000)

        async def append() -> None:
            due = time.perf_counter()
            for _ in range(750):
                async with asyncio.TaskGroup() as group:
                    for n in range(appends):
                        group.create_task(self.store.streams.append(f"s/{n % 10}", Entry(n, BODY[:200])))
                due += 0.002
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

        async with asyncio.TaskGroup() as group:
            group.create_task(feel())
            await append()
            done = True
        return sorted(late)[int(len(late) * 0.99)]

    async def fill(self) -> None:
        """Make sure that there is enough to receive."""
        for _ in range(60):
            await self.store.queue.enqueue("full", *(QueueMessage(BODY) for _ in range(1000)))

    async def measure(self, commits: float) -> dict[str, float]:
        """Return one round's values of all targets, as ratios to so many commits a second."""
        found: list[float] = [
            await rate(1, lambda: self.enqueue(1)) / commits,
            await rate(64, lambda: self.enqueue(1)) / commits,
            await rate(1, lambda: self.enqueue(100)) / commits,
        ]
        await self.fill()
        found.append(await rate(8, self.receive) / commits)
        found.append(await rate(64, self.put) / commits)
        found.append(await median_s(300, lambda: _no_value(self.put())) * commits)
        found.append(await rate(64, self.find) / commits)
        found.append(await median_s(200, self.delivered) * commits)
        found.append(await median_s(200, lambda: _no_value(self.lease("me", 1))) * commits)
        numbers = itertools.count()
        found.append(await rate(16, lambda: self.lease(f"holder-{next(numbers) % 16}", 16)) / commits)
        for client, times, factor in ((self.store, 200, commits), (self.other, 50, 1000)):
            watch = client.documents.watch("watched", (await client.documents.list("watched")).cursor)
            found.append(await median_s(times, partial(self.watched, watch)) * factor)
        found.append(await self.stall_ms())
        return {target.name: value for target, value in zip(TARGETS, found, strict=True)}


async def _no_value(work: Awaitable[int]) -> None:
    await work


async def main(rounds: int, directory: Path) -> list[dict[str, object]]:
    """Measure; print and return the rows."""
    results: list[dict[str, float]] = []
    rates = []
    for number in range(rounds):
        async with AsyncExitStack() as stack:
            path = directory / f"round-{number}"
            store, other = [
                await stack.enter_async_context(
                    open_sqlite_store(path, clock=SystemClock(), stream_limit_bytes=1 << 28)
                )
                for _ in range(2)
            ]
            rates.append(baseline(directory))
            results.append(await Subjects(store, other).measure(rates[-1]))
        shutil.rmtree(path)
    print(f"baseline: {statistics.median(rates):.0f} commits/s, {rounds} rounds")
    rows = []
    for target in TARGETS:
        values = [result[target.name] for result in results]
        value = statistics.median(values)
        holds = value >= target.limit if target.at_least else value <= target.limit
        print(
            f"{'holds ' if holds else 'MISSED'}  {target.name}: {value:.3g} "
            f"({'at least' if target.at_least else 'at most'} {target.limit:g}; {min(values):.3g} to {max(values):.3g})"
        )
        rows.append({**asdict(target), "value": value, "holds": holds, "values": values})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="on the disk to measure; a temporary one by default")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lambent-bench-", dir=options.directory) as folder:
        rows = uvloop.run(main(options.rounds, Path(folder)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
