"""Streams over segment files: appends grouped in a thread of their own, reads in another."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from lambent.store.contract import Entry, Position, Slice, StoreError, Unavailable, Unknown, Usage
from lambent.store.groups import GroupThread
from lambent.store.limits import SLICE_LIMIT_BYTES, check_entries, check_key, check_prefix
from lambent.store.streams.files import SegmentFiles
from lambent.store.streams.segment import Segment, Span

log = structlog.get_logger(__name__)

T = TypeVar("T")

SYNC_EVERY_S: Final = 0.5  # the contract allows a power cut to cost a second


@dataclass(slots=True, eq=False)
class _Append:
    """Entries of one stream that wait for their group."""

    stream: str
    entries: tuple[Entry, ...]
    size: int
    durable: bool
    future: "asyncio.Future[None]"


@dataclass(slots=True, eq=False)
class _Drop:
    """A request to forget entries."""

    stream: str
    before_ms: int | None
    future: "asyncio.Future[None]"
    size: int = 0


_Job = _Append | _Drop
Outcome = tuple["asyncio.Future[None]", StoreError | None]


class SegmentStreams:
    """``Streams`` in a folder of segments."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._written = SegmentFiles(folder, limit_bytes)
        self._read_files = SegmentFiles(folder, limit_bytes)
        self._read_segments: dict[int, Segment] = {}
        self._unsynced_since_s: float | None = None
        self._thread: GroupThread[_Job] = GroupThread(
            "lambent-streams",
            self._run_group,
            lambda job: job.size,
            pause_s=self._pause_s,
            on_pause=self._sync,
            on_stop=self._stop,
        )
        self._reader = ThreadPoolExecutor(1, "lambent-streams-read")

    async def append(self, stream: str, *entries: Entry, durable: bool = False) -> None:
        """Append in order."""
        check_key(stream)
        size = check_entries(entries)
        if entries:
            future: asyncio.Future[None] = self._loop.create_future()
            self._thread.submit(_Append(stream, entries, size, durable, future))
            await future

    async def read(
        self,
        stream: str,
        *,
        start_ms: int,
        end_ms: int,
        after: Position | None = None,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Slice:
        """Return entries with ``start_ms <= at_ms < end_ms``."""
        check_key(stream)
        place = None if after is None else parse_position(after)
        span = Span(start_ms=start_ms, end_ms=end_ms, after=place, newest_first=newest_first)

        def work() -> Slice:
            return self._slice(stream, span, limit)

        return await self._run(work)

    async def drop(self, stream: str, *, before_ms: int) -> None:
        """Forget the entries with ``at_ms < before_ms``."""
        await self._drop(stream, before_ms)

    async def remove(self, stream: str) -> None:
        """Forget the stream whole."""
        await self._drop(stream, None)

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the streams below ``prefix`` that hold an entry."""
        check_prefix(prefix)
        rows = await self._run(lambda: self._streams(prefix))
        return sorted({name for name, *_ in rows})

    async def usage(self, prefix: str) -> Usage:
        """Return what the streams below ``prefix`` hold."""
        check_prefix(prefix)
        rows = await self._run(lambda: self._streams(prefix))
        return Usage(
            bytes=sum(size for _, _, size, _ in rows),
            entries=sum(entries for _, entries, _, _ in rows),
            oldest=min((oldest for *_, oldest in rows), default=None),
            evicted=self._written.evicted,
        )

    async def close(self) -> None:
        """Sync what was appended and end both threads."""
        await self._thread.close()
        await self._loop.run_in_executor(None, self._close_reader)

    async def _drop(self, stream: str, before_ms: int | None) -> None:
        check_key(stream)
        future: asyncio.Future[None] = self._loop.create_future()
        self._thread.submit(_Drop(stream, before_ms, future))
        await future

    # --- in the writing thread ------------------------------------------------------------------------------------

    def _run_group(self, jobs: list[_Job]) -> Callable[[], None]:
        outcomes: list[Outcome] = []
        appends: list[_Append] = []
        size = 0
        for job in jobs:
            if isinstance(job, _Append):
                if appends and size + job.size > self._written.group_bytes:
                    outcomes += self._append(appends)
                    appends, size = [], 0
                appends.append(job)
                size += job.size
            else:
                outcomes += self._append(appends)
                appends, size = [], 0
                outcomes.append((job.future, self._try(partial(self._written.drop, job.stream, job.before_ms))))
        outcomes += self._append(appends)
        return lambda: _complete(outcomes)

    def _append(self, appends: list[_Append]) -> list[Outcome]:
        if not appends:
            return []
        now_s = time.monotonic()
        is_due = self._unsynced_since_s is not None and now_s - self._unsynced_since_s >= SYNC_EVERY_S
        durable = is_due or any(job.durable for job in appends)
        batches = [(job.stream, job.entries) for job in appends]
        failure = self._try(lambda: self._written.append(batches, durable=durable))
        if durable and failure is None:
            self._unsynced_since_s = None
        elif self._unsynced_since_s is None:
            self._unsynced_since_s = now_s
        return [(job.future, failure) for job in appends]

    def _try(self, work: Callable[[], None]) -> StoreError | None:
        try:
            work()
        except Exception as error:
            log.exception("stream_write_failed")
            self._leave_current()
            return Unknown(f"streams: {error}")
        return None

    def _leave_current(self) -> None:
        try:
            self._written.leave()
        except sqlite3.Error as error:
            log.warning("stream_close_failed", reason=str(error))

    def _pause_s(self) -> float | None:
        if self._unsynced_since_s is None:
            return None
        return max(0.0, self._unsynced_since_s + SYNC_EVERY_S - time.monotonic())

    def _sync(self) -> None:
        self._unsynced_since_s = None
        self._try(self._written.sync)

    def _stop(self) -> None:
        self._sync()
        self._leave_current()

    # --- in the reading thread ------------------------------------------------------------------------------------

    def _slice(self, stream: str, span: Span, limit: int) -> Slice:
        entries: list[Entry] = []
        positions: list[Position] = []
        size, has_more = 0, False
        for segment in self._segments(reverse=span.newest_first):
            if has_more or not span.may_touch(segment.number):
                continue
            for n, at_ms, body in segment.read(stream, span):
                size += len(body)
                has_more = len(entries) >= limit or (bool(entries) and size > SLICE_LIMIT_BYTES)
                if has_more:
                    break
                entries.append(Entry(at_ms, body))
                positions.append(render_position(segment.number, n))
        return Slice(tuple(entries), tuple(positions), has_more)

    def _streams(self, prefix: str) -> list[tuple[str, int, int, int]]:
        return [row for segment in self._segments() for row in segment.names(prefix)]

    def _segments(self, *, reverse: bool = False) -> Iterator[Segment]:
        """Yield the segments that are there now, opened; forget those that are gone."""
        numbers = self._read_files.numbers()
        for gone in self._read_segments.keys() - set(numbers):
            self._read_segments.pop(gone).close()
        for number in sorted(numbers, reverse=reverse):
            segment = self._read_segments.get(number) or self._read_files.open(number)
            if segment is not None:
                self._read_segments[number] = segment
                yield segment

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.wrap_future(self._reader.submit(work))
        except (sqlite3.Error, OSError, RuntimeError) as error:
            raise Unavailable(f"streams: {error}") from error

    def _close_reader(self) -> None:
        self._reader.shutdown(wait=True)
        for segment in self._read_segments.values():
            segment.close()


@asynccontextmanager
async def open_streams(folder: Path, *, limit_bytes: int) -> AsyncIterator[SegmentStreams]:
    """Yield the streams of ``folder``, made if need be, which together never hold much over ``limit_bytes``."""

    def prepare() -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        SegmentFiles(folder, limit_bytes).set_aside_damaged()

    await asyncio.get_running_loop().run_in_executor(None, prepare)
    streams = SegmentStreams(folder, limit_bytes)
    try:
        yield streams
    finally:
        await streams.close()


def render_position(segment: int, number: int) -> Position:
    """Return a position that sorts as text."""
    return Position(f"{segment:010d}.{number:014d}")


def parse_position(position: Position) -> tuple[int, int]:
    """Return segment and number. ValueError for what is no position."""
    segment, dot, number = position.partition(".")
    if not (dot and segment.isdecimal() and number.isdecimal()):
        raise ValueError(f"not a position: {position[:80]!r}")
    return int(segment), int(number)


def _complete(outcomes: list[Outcome]) -> None:
    for future, failure in outcomes:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
