"""From the loop to the store: a bounded buffer of log events, written by one task, stream by stream.

Callers never wait and never fail. At the bound the newest events are dropped; how many is counted, said in our own
log, and, where the log format is JSON, in the stream itself.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from lambent.model.clock import Clock
from lambent.model.ids import Scope
from lambent.observe.lines import logs_dropped_record, render_event
from lambent.observe.log_events import EventNumbers, EventStore, LogEvent, to_ms
from lambent.observe.log_groups import LogGroups

BUFFER_LIMIT_BYTES: Final = 32 * 1024 * 1024  # of all streams; at it, new events are dropped
STREAM_SHARE: Final = 4  # one stream gets at most this part of it, so that a noisy or stuck one leaves room to others
FLUSH_TIMEOUT_S: Final = 5.0  # how long a reader waits for what was written before he asked
# How long events gather before they are written, unless somebody asks for them or many wait: a batch costs the loop
# and the store's thread far more than an event in it. A server that is killed loses as much of its log.
GATHER_S: Final = 0.1
GATHER_LIMIT_BYTES: Final = 1024 * 1024

_STREAMS_AT_ONCE: Final = 64
_BATCH_EVENTS: Final = 500  # within the store's bounds of one append
_BATCH_BYTES: Final = 4 * 1024 * 1024
_EVENT_COST_BYTES: Final = 200  # of an event in memory, besides its message
_RETRY_S: Final = 1.0

log = structlog.get_logger()


class _Pending(NamedTuple):
    at_ms: int
    message: bytes


@dataclass(slots=True, eq=False)
class StreamBuffer:
    """What waits to be written to one stream. Made by ``LogWriter.open_stream``."""

    scope: Scope
    group: str
    stream: str
    is_json: bool = False
    _pending: deque[_Pending] = field(default_factory=deque)
    _dropped: int = 0
    _dropped_bytes: int = 0
    _bytes: int = 0
    _added: int = 0
    _written: int = 0
    _latest_ms: int = 0  # of the events appended so far


class LogWriter:
    """Owns the buffer. ``run`` writes it; ``flush`` waits until what is there now is written."""

    def __init__(
        self, groups: LogGroups, events: EventStore, clock: Clock, *, buffer_limit_bytes: int = BUFFER_LIMIT_BYTES
    ) -> None:
        self._groups, self._events, self._clock = groups, events, clock
        self._numbers = EventNumbers()
        self._limit_bytes = buffer_limit_bytes
        self._bytes = 0
        self._dirty: dict[StreamBuffer, None] = {}  # an ordered set: streams with something to write
        self._wake = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []  # of those who wait for the next batch to be written
        self._dropped_events = 0
        self._in_flight: asyncio.Future[list[BaseException | None]] | None = None

    @property
    def dropped_events(self) -> int:
        """How many events were dropped so far, of all streams."""
        return self._dropped_events

    @property
    def buffered_bytes(self) -> int:
        """How much waits to be written."""
        return self._bytes

    def open_stream(self, scope: Scope, group: str, stream: str, *, is_json: bool) -> StreamBuffer:
        """Return the buffer of one stream. Group and stream are made at the first write."""
        return StreamBuffer(scope, group, stream, is_json)

    def add(self, buffer: StreamBuffer, at_ms: int, message: bytes) -> None:
        """Take one event, or drop and count it where the buffer is full."""
        cost = len(message) + _EVENT_COST_BYTES
        if self._bytes + cost > self._limit_bytes or (buffer._bytes + cost) * STREAM_SHARE > self._limit_bytes:
            buffer._dropped += 1
            buffer._dropped_bytes += len(message)
            self._dropped_events += 1
            return
        self._bytes += cost
        buffer._bytes += cost
        buffer._added += 1
        buffer._pending.append(_Pending(at_ms, message))
        self._dirty[buffer] = None
        if self._bytes > GATHER_LIMIT_BYTES:
            self._write_now()
        elif self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._write_now)

    async def flush(self) -> None:
        """Return when everything taken so far is written, or after ``FLUSH_TIMEOUT_S``."""
        wanted = {buffer: buffer._added for buffer in self._dirty}
        self._write_now()
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                while any(buffer._written < count for buffer, count in wanted.items()):
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    await waiter
        except TimeoutError:
            log.warning("log_flush_timed_out", buffered_bytes=self._bytes)

    async def run(self) -> None:
        """Write until cancelled, and then what is left, as far as ``FLUSH_TIMEOUT_S`` reaches."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._stop_gathering()
                if not await self.write_once():
                    # The store is in trouble; the buffer takes what it can meanwhile.
                    self._wake.set()
                    await self._clock.sleep_s(_RETRY_S)
        except asyncio.CancelledError:
            self._stop_gathering()
            await self._write_rest()
            raise

    def _write_now(self) -> None:
        if self._dirty:
            self._wake.set()

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    async def _write_rest(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                if self._in_flight is not None:
                    await asyncio.gather(self._in_flight, return_exceptions=True)
                while self._dirty and await self.write_once():
                    pass
        except TimeoutError:
            if self._in_flight is not None:
                self._in_flight.cancel()
        if self._dirty:
            log.error("log_events_lost", streams=len(self._dirty), bytes=self._bytes)

    async def write_once(self) -> bool:
        """Write what waits, one batch a stream; return whether all of it could be written."""
        is_well = True
        waiting = list(self._dirty)
        for start in range(0, len(waiting), _STREAMS_AT_ONCE):
            buffers = waiting[start : start + _STREAMS_AT_ONCE]
            # Together, because the store makes one group of what comes together. In tasks of their own: who stops the
            # writer stops it between two rounds, and no batch is written twice.
            tasks = [asyncio.create_task(self._write_batch(buffer), name="log batch") for buffer in buffers]
            self._in_flight = asyncio.gather(*tasks, return_exceptions=True)
            for buffer, error in zip(buffers, await asyncio.shield(self._in_flight), strict=True):
                if error is not None:
                    log.error("log_write_failed", group=buffer.group, stream=buffer.stream, exc_info=error)
                    is_well = False
        if self._dirty:
            self._wake.set()
        return is_well

    async def _write_batch(self, buffer: StreamBuffer) -> None:
        batch = self._next_batch(buffer)
        group, stream = await self._groups.ensure_stream(buffer.scope, buffer.group, buffer.stream)
        now = self._clock.now()
        dropped, dropped_bytes = buffer._dropped, buffer._dropped_bytes
        written = list(batch)
        if dropped and buffer.is_json:
            said = render_event("platform.logsDropped", now, logs_dropped_record(dropped, dropped_bytes))
            written.append(_Pending(to_ms(now), said.encode()))
        latest_ms, disorder_ms = buffer._latest_ms, 0
        for each in written:
            disorder_ms = max(disorder_ms, latest_ms - each.at_ms)
            latest_ms = max(latest_ms, each.at_ms)
        if disorder_ms > stream.disorder_ms:
            await self._groups.allow_disorder(group, stream.name, disorder_ms)
        ingested_ms = to_ms(now)
        name = self._groups.source(group, stream).name
        await asyncio.sleep(0)  # until the batches of all streams are here: what comes together is one group
        await self._events.append(
            name, [LogEvent(each.at_ms, ingested_ms, self._numbers.next(), each.message) for each in written]
        )
        buffer._latest_ms = latest_ms
        self._forget(buffer, len(batch))
        if dropped:
            buffer._dropped -= dropped
            buffer._dropped_bytes -= dropped_bytes
            log.warning(
                "log_events_dropped", group=buffer.group, stream=buffer.stream, events=dropped, bytes=dropped_bytes
            )

    def _next_batch(self, buffer: StreamBuffer) -> list[_Pending]:
        batch: list[_Pending] = []
        size = 0
        for each in buffer._pending:
            size += len(each.message)
            if batch and (len(batch) == _BATCH_EVENTS or size > _BATCH_BYTES):
                break
            batch.append(each)
        return batch

    def _forget(self, buffer: StreamBuffer, count: int) -> None:
        for _ in range(count):
            cost = len(buffer._pending.popleft().message) + _EVENT_COST_BYTES
            self._bytes -= cost
            buffer._bytes -= cost
        buffer._written += count
        if not buffer._pending:
            self._dirty.pop(buffer, None)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
