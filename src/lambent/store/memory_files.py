"""Blobs and streams in memory: the same contract, for tests."""

import hashlib
import itertools
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator

from lambent.store.contract import Corrupt, Entry, Missing, Position, Slice, Usage
from lambent.store.limits import SLICE_LIMIT_BYTES, check_entries, check_key, check_prefix


class MemoryBlobs:
    """``Blobs`` in a dictionary."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    async def put(self, chunks: AsyncIterable[bytes], *, expect: str | None = None) -> str:
        """Return the digest."""
        content = b"".join([chunk async for chunk in chunks])
        digest = hashlib.sha256(content).hexdigest()
        if expect is not None and digest != expect:
            raise Corrupt(f"the upload is {digest}, announced was {expect}")
        self._contents[digest] = content
        return digest

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        """Yield the content."""
        if (content := self._contents.get(digest)) is None:
            raise Missing(f"there is no blob {digest[:80]!r}")
        for start in range(0, len(content), 262_144):
            yield content[start : start + 262_144]

    async def delete(self, digest: str) -> None:
        """Remove the content if it is there."""
        self._contents.pop(digest, None)


class MemoryStreams:
    """``Streams`` in lists; at the bound the oldest entries go."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._streams: dict[str, dict[int, Entry]] = {}
        self._order: deque[tuple[int, str]] = deque()
        self._numbers = itertools.count(1)
        self._bytes = self._evicted = 0

    async def append(self, stream: str, *entries: Entry, durable: bool = False) -> None:
        """Append in order."""
        check_key(stream)
        check_entries(entries)
        for entry in entries:
            number = next(self._numbers)
            self._streams.setdefault(stream, {})[number] = entry
            self._order.append((number, stream))
            self._bytes += len(entry.body)
        while self._bytes > self._limit_bytes and self._order:
            number, name = self._order.popleft()
            if number in self._streams.get(name, {}):
                self._evicted += 1
                self._forget(name, [number])

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
        if after is not None and not after.isdecimal():
            raise ValueError(f"not a position: {after[:80]!r}")
        entries: list[Entry] = []
        positions: list[Position] = []
        size = 0
        for number, entry in sorted(self._streams.get(stream, {}).items(), reverse=newest_first):
            is_seen = after is not None and (number >= int(after) if newest_first else number <= int(after))
            if is_seen or not start_ms <= entry.at_ms < end_ms:
                continue
            size += len(entry.body)
            if len(entries) >= limit or (entries and size > SLICE_LIMIT_BYTES):
                return Slice(tuple(entries), tuple(positions), True)
            entries.append(entry)
            positions.append(Position(f"{number:014d}"))
        return Slice(tuple(entries), tuple(positions), False)

    async def drop(self, stream: str, *, before_ms: int) -> None:
        """Forget the entries with ``at_ms < before_ms``."""
        check_key(stream)
        entries = self._streams.get(stream, {})
        self._forget(stream, [number for number, entry in entries.items() if entry.at_ms < before_ms])

    async def remove(self, stream: str) -> None:
        """Forget the stream whole."""
        check_key(stream)
        self._forget(stream, list(self._streams.get(stream, {})))

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the streams below ``prefix`` that hold an entry."""
        check_prefix(prefix)
        return sorted(name for name in self._streams if name.startswith(prefix))

    async def usage(self, prefix: str) -> Usage:
        """Return what the streams below ``prefix`` hold."""
        check_prefix(prefix)
        entries = [entry for name, held in self._streams.items() if name.startswith(prefix) for entry in held.values()]
        return Usage(
            bytes=sum(len(entry.body) for entry in entries),
            entries=len(entries),
            oldest=min((entry.at_ms for entry in entries), default=None),
            evicted=self._evicted,
        )

    def _forget(self, stream: str, numbers: list[int]) -> None:
        held = self._streams.get(stream, {})
        for number in numbers:
            self._bytes -= len(held.pop(number).body)
        if not held:
            self._streams.pop(stream, None)
