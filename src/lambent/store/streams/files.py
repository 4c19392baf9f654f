"""The folder of segments: which one is written, when the next begins, and which one goes at the bound."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from lambent.store.contract import Entry
from lambent.store.files import sync_folder
from lambent.store.streams.segment import Sealed, Segment

log = structlog.get_logger(__name__)

_NAME: Final = re.compile(r"segment-(\d{10})\.db")
_SUFFIXES: Final = ("", "-wal", "-shm")
_SHARES: Final = 16  # a segment is this part of the bound, so that what goes at the bound is not much
_SEGMENT_FLOOR_BYTES: Final = 128 * 1024
_SEGMENT_CEILING_BYTES: Final = 64 * 1024 * 1024


class SegmentFiles:
    """Used by one thread. Two processes may write one folder: a segment that one has sealed, the other leaves too."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        self._segment_bytes = min(max(limit_bytes // _SHARES, _SEGMENT_FLOOR_BYTES), _SEGMENT_CEILING_BYTES)
        self._current: Segment | None = None
        self.evicted = 0

    @property
    def group_bytes(self) -> int:
        """How much may go into one transaction, so that segments stay near their size."""
        return self._segment_bytes // 2

    def append(self, batches: Sequence[tuple[str, Sequence[Entry]]], *, durable: bool) -> None:
        """Append in one transaction to the newest segment."""
        while True:
            current = self._current = self._current or self._open_newest()
            try:
                current.append(batches, durable=durable)
                break
            except Sealed:
                self.leave()
        if self._size(current.number) >= self._segment_bytes:
            current.seal()
            self.leave()
            self._evict()

    def sync(self) -> None:
        """Make durable what was appended."""
        if self._current is not None:
            self._current.sync()

    def leave(self) -> None:
        """Close the segment that is written."""
        current, self._current = self._current, None
        if current is not None:
            current.close()

    def drop(self, stream: str, before_ms: int | None) -> None:
        """Forget entries of a stream in all segments; a sealed segment that is empty then goes."""
        for number in self.numbers():
            if self._current is not None and self._current.number == number:
                self._current.drop(stream, before_ms)
            elif (segment := self.open(number)) is not None:
                try:
                    is_empty = segment.drop(stream, before_ms) and not segment.entries() and segment.is_sealed()
                finally:
                    segment.close()
                if is_empty:
                    self._unlink(number)

    def numbers(self) -> list[int]:
        """Return the segments' numbers, oldest first."""
        found = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def open(self, number: int) -> Segment | None:
        """Return a segment, None where it was evicted meanwhile or is damaged (which is said aloud)."""
        path = self._path(number)
        try:
            return Segment(path, number)
        except sqlite3.Error as error:
            if path.exists():
                log.error("stream_segment_unreadable", segment=path.name, reason=str(error))
            return None

    def set_aside_damaged(self) -> None:
        """Rename what is no segment, so that nobody reads it or appends to it."""
        for number in self.numbers():
            if (segment := self.open(number)) is not None:
                segment.close()
            elif (path := self._path(number)).exists():
                path.rename(path.with_suffix(".damaged"))

    def _open_newest(self) -> Segment:
        for number in reversed(self.numbers()):
            segment = self.open(number)
            if segment is not None and not segment.is_sealed():
                return segment
            if segment is not None:
                segment.close()
            return self._begin(number + 1)
        return self._begin(1)

    def _begin(self, number: int) -> Segment:
        segment = Segment(self._path(number), number, create=True)
        sync_folder(self._folder)
        return segment

    def _evict(self) -> None:
        """Delete oldest segments until what is there, and a full one more with its log, keeps the bound."""
        for number, size in list(self._sizes()):
            if sum(other for _, other in self._sizes()) + 2 * self._segment_bytes <= self._limit_bytes:
                return
            segment = self.open(number)
            entries = 0
            if segment is not None:
                if not segment.is_sealed():
                    segment.close()
                    return
                entries = segment.entries()
                segment.close()
            self._unlink(number)
            self.evicted += entries
            log.warning("stream_segment_evicted", entries=entries, segment_bytes=size, limit_bytes=self._limit_bytes)

    def _sizes(self) -> Iterator[tuple[int, int]]:
        return ((number, self._size(number)) for number in self.numbers())

    def _size(self, number: int) -> int:
        total = 0
        for suffix in _SUFFIXES:
            path = self._folder / f"{self._path(number).name}{suffix}"
            try:
                total += path.stat().st_blocks * 512 if suffix == "-shm" else path.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def _unlink(self, number: int) -> None:
        for suffix in _SUFFIXES:
            (self._folder / f"{self._path(number).name}{suffix}").unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"segment-{number:010d}.db"
