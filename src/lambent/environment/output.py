"""What a function prints: two pipes, cut into events, given to its environment's log in order and in bounds.

The pipes' writers are hostile: a turn of the loop reads 16 KiB, a line is cut at CloudWatch's
limit, nothing is kept beyond one line a pipe.
"""

import asyncio
import fcntl
import os
import select
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from lambent.environment.frames import Frame, FrameReader
from lambent.model.clock import Clock

# CloudWatch Logs quotas: an event has at most 1 MB, 26 bytes of which are counted for its envelope.
EVENT_LIMIT_BYTES: Final = 1_048_576 - 26
# A turn of the loop takes no more: tens of thousands of one-byte lines must not stall every other environment.
READ_BYTES: Final = 16_384
# A function may write any time into a frame; outside of this window before now it is taken for ours.
FRAME_AGE_LIMIT: Final = timedelta(minutes=20)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class OutputLog(Protocol):
    """Where output goes: an environment's log, or that of a cell without a function."""

    def output(self, message: bytes, at: datetime, *, level: str | None = None) -> None:
        """Write one event."""
        ...


class _Pipe:
    """One pipe: its reading end in the loop, its writing end until the program has it."""

    def __init__(self, taken: Callable[[bytes], None]) -> None:
        self._taken = taken
        self.read_fd, self.write_fd = os.pipe()  # not non-blocking: the flag would reach the function's own stdout
        os.set_blocking(self.read_fd, False)
        self._capacity_bytes = int(fcntl.fcntl(self.read_fd, fcntl.F_GETPIPE_SZ))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.read_fd, self._readable)

    def drain(self) -> None:
        """Take what was written before now: at most what the pipe holds."""
        remaining = self._capacity_bytes
        while remaining > 0 and (chunk := self._read()):
            remaining -= len(chunk)
            self._taken(chunk)

    def close_writer(self) -> None:
        """Close our copy of the writing end."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def close(self) -> None:
        """Take what is left, and close both ends."""
        self.close_writer()
        if self.read_fd >= 0:
            self.drain()
            self._loop.remove_reader(self.read_fd)
            os.close(self.read_fd)
            self.read_fd = -1

    def _readable(self) -> None:
        if chunk := self._read():
            self._taken(chunk)
        elif chunk is not None:  # every writer is gone
            self._loop.remove_reader(self.read_fd)

    def _read(self) -> bytes | None:
        try:
            return os.read(self.read_fd, READ_BYTES)
        except BlockingIOError:
            return None
        except InterruptedError:
            return None


class ProgramOutput:
    """The output of one program. ``output_fd`` and ``log_fd`` are for its start; ``started`` closes our copies."""

    def __init__(self, log: OutputLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._line = bytearray()
        self._frames = FrameReader(EVENT_LIMIT_BYTES)
        self._raw_line = bytearray()  # of a log descriptor that speaks no frames
        self._pipe = _Pipe(self._take_lines)
        try:
            self._log_pipe = _Pipe(self._take_frames)
        except OSError:
            self._pipe.close()
            raise
        self._poll = select.poll()
        for pipe in (self._pipe, self._log_pipe):
            self._poll.register(pipe.read_fd, select.POLLIN)

    @property
    def output_fd(self) -> int:
        """What becomes stdout and stderr."""
        return self._pipe.write_fd

    @property
    def log_fd(self) -> int:
        """What becomes descriptor 62."""
        return self._log_pipe.write_fd

    def serve(self, log: OutputLog) -> None:
        """Give ``log`` all that is written from now on, and what was written before to the log before it."""
        self.drain()
        self._log = log

    def started(self) -> None:
        """The program has its copies."""
        self._pipe.close_writer()
        self._log_pipe.close_writer()

    def drain(self) -> None:
        """Give everything to the log that was written before now, unfinished lines too."""
        if self._poll.poll(0):  # one question for both, which mostly have nothing
            self._pipe.drain()
            self._log_pipe.drain()
        self._flush()

    def close(self) -> None:
        """Give what is left to the log; the program is dead, or nobody reads it any more."""
        self._pipe.close()
        self._log_pipe.close()
        for frame in self._frames.flush():
            self._emit_frame(frame)
        self._flush()

    def _flush(self) -> None:
        if self._line:
            self._emit_rest(self._line)
        if self._raw_line:
            self._emit_rest(self._raw_line)

    def _take_lines(self, chunk: bytes) -> None:
        self._cut(self._line, chunk)

    def _take_frames(self, chunk: bytes) -> None:
        for frame in self._frames.feed(chunk):
            if frame.at_us is None:
                self._cut(self._raw_line, frame.message)
            else:
                self._emit_frame(frame)

    def _cut(self, line: bytearray, chunk: bytes) -> None:
        # Recorded from AWS: every \n ends an event and stays in it; a lone \r does not.
        at = self._clock.now()
        start = 0
        if not line and len(chunk) <= EVENT_LIMIT_BYTES:  # whole lines, as nearly always: no copy into the buffer
            while (end := chunk.find(b"\n", start)) >= 0:
                self._log.output(chunk[start : end + 1], at)
                start = end + 1
        searched = len(line)  # what an earlier chunk brought has no newline in it
        line += chunk[start:]
        while line:
            end = line.find(b"\n", searched, EVENT_LIMIT_BYTES)
            if end < 0 and len(line) < EVENT_LIMIT_BYTES:
                return
            size = end + 1 if end >= 0 else EVENT_LIMIT_BYTES
            self._log.output(bytes(line[:size]), at)
            del line[:size]
            searched = 0

    def _emit_rest(self, line: bytearray) -> None:
        self._log.output(bytes(line), self._clock.now())
        line.clear()

    def _emit_frame(self, frame: Frame) -> None:
        now = self._clock.now()
        self._log.output(frame.message, _frame_time(frame.at_us, now), level=frame.level)


def _frame_time(at_us: int | None, now: datetime) -> datetime:
    if at_us is None or at_us >= 1 << 60:
        return now
    stated = _EPOCH + timedelta(microseconds=at_us)
    return stated if now - FRAME_AGE_LIMIT <= stated <= now else now
