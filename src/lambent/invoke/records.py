"""Invocation records on their way to metrics and bills: taken after the caller has his answer, passed on in batches."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from lambent.model.clock import Clock
from lambent.model.invocations import InvocationRecord

# Enough for ten seconds of a busy host; beyond it the oldest are dropped and counted.
WAITING_LIMIT: Final = 100_000
# What sinks get at once: they work on the loop, and invocations wait meanwhile.
BATCH_LIMIT: Final = 256

log = structlog.get_logger(__name__)


class RecordSink(Protocol):
    """Whoever makes something of records."""

    async def take_records(self, records: Sequence[InvocationRecord]) -> None:
        """Take a batch, in the order of the invocations' ends."""
        ...


class InvocationRecords:
    """Collects records without waiting, and hands them to every sink once a second."""

    def __init__(self, clock: Clock, sinks: Sequence[RecordSink] = (), interval_s: float = 1.0) -> None:
        self._clock = clock
        self._sinks = tuple(sinks)
        self._interval_s = interval_s
        self._waiting: deque[InvocationRecord] = deque(maxlen=WAITING_LIMIT)
        self.dropped = 0
        self.count = 0

    def record_invocation(self, record: InvocationRecord) -> None:
        """Take one record; never waits, never fails."""
        self.count += 1
        if not self._sinks:
            return
        self.dropped += len(self._waiting) == WAITING_LIMIT
        self._waiting.append(record)

    async def flush_once(self) -> bool:
        """Give what waits to every sink, batch by batch; returns whether there was anything."""
        remaining = len(self._waiting)
        if not remaining:
            return False
        while remaining > 0 and self._waiting:
            batch = tuple(self._waiting.popleft() for _ in range(min(BATCH_LIMIT, len(self._waiting))))
            remaining -= len(batch)
            await self._hand_on(batch)
            if remaining > 0:
                await asyncio.sleep(0)  # a turn for everybody else
        return True

    async def _hand_on(self, batch: Sequence[InvocationRecord]) -> None:
        for sink in self._sinks:
            try:
                await sink.take_records(batch)
            except Exception:  # the edge of one unit of work: the other sinks must get theirs
                log.exception("records_not_taken", records=len(batch))

    async def run(self) -> None:
        """Hand on until cancelled; what waits then is handed on as well."""
        try:
            while True:
                await self._clock.sleep_s(self._interval_s)
                await self.flush_once()
        except asyncio.CancelledError:
            await self.flush_once()
            raise
