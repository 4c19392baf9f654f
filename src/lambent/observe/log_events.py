"""One log event: how it is stored, ordered and identified."""

import itertools
import os
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Generic, NamedTuple, Protocol

from lambent.observe.store_seam import Absent, AnEntry, Entry, Slice, StoreParts

# API reference, PutLogEvents: "Each log event can be no larger than 1 MB", and 26 bytes are counted for each event.
EVENT_LIMIT_BYTES: Final = 1_048_576
EVENT_OVERHEAD_BYTES: Final = 26
MESSAGE_LIMIT_BYTES: Final = EVENT_LIMIT_BYTES - EVENT_OVERHEAD_BYTES

KEY_DIGITS: Final = 56  # as AWS's event ids have
END_OF_TIME_MS: Final = 1 << 43  # later than every event: the year 2248

_HEAD: Final = struct.Struct(">QQ")  # ingestion time, number
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LogEvent(NamedTuple):
    """A stored log event. ``number`` tells events of one millisecond apart and keeps them in order of ingestion."""

    at_ms: int
    ingested_ms: int
    number: int
    message: bytes

    @property
    def key(self) -> int:
        """Where the event stands among all events: by time, then ingestion. Rendered, it is the ``eventId``."""
        # Recorded from AWS: an eventId has 56 digits, and divided by 2**144 it is the timestamp.
        return (self.at_ms << 144) | ((self.ingested_ms & 0xFFFF_FFFF_FFFF) << 96) | (self.number << 32)

    @property
    def text(self) -> str:
        """The message as answers carry it; what is no UTF-8 is replaced."""
        return self.message.decode("utf-8", "replace")

    @property
    def counted_bytes(self) -> int:
        """What the event weighs by AWS's counting."""
        return len(self.message) + EVENT_OVERHEAD_BYTES


def key_at(at_ms: int) -> int:
    """Return the lowest key of an instant."""
    return at_ms << 144


def at_ms_of(key: int) -> int:
    """Return the instant of a key."""
    return key >> 144


def to_ms(at: datetime) -> int:
    """Return an instant in milliseconds since 1970."""
    since = at - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def parse_event(entry: Entry) -> LogEvent:
    """Return the event that a stored entry holds."""
    ingested_ms, number = _HEAD.unpack_from(entry.body)
    return LogEvent(entry.at_ms, ingested_ms, number, entry.body[_HEAD.size :])


def cut_message(message: bytes) -> list[bytes]:
    """Return ``message`` in pieces that an event may have; UTF-8 characters stay whole."""
    pieces = []
    while len(message) > MESSAGE_LIMIT_BYTES:
        end = MESSAGE_LIMIT_BYTES
        while end > MESSAGE_LIMIT_BYTES - 4 and message[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(message[:end])
        message = message[end:]
    return [*pieces, message]


class EventNumbers:
    """Numbers that no other event of this millisecond has, growing as they are given. One for each process."""

    def __init__(self) -> None:
        self._tail = int.from_bytes(os.urandom(4), "big")
        self._counter = itertools.count(1)

    def next(self) -> int:
        """Return a number below 2**64."""
        return ((next(self._counter) & 0xFFFF_FFFF) << 32) | self._tail


class EventStore(Protocol):
    """Where events are kept, by the name of a stored stream."""

    async def append(self, name: str, events: Sequence[LogEvent]) -> None:
        """Append events in order; a dead process cannot lose them afterwards."""
        ...

    async def read(
        self, name: str, *, start_ms: int, end_ms: int, after: object, limit: int, newest_first: bool
    ) -> Slice:
        """Return a slice of entries that ``parse_event`` reads."""
        ...

    async def drop(self, name: str, *, before_ms: int) -> None:
        """Forget the events before an instant."""
        ...

    async def remove(self, name: str) -> None:
        """Forget all events."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """Return the names that hold an event."""
        ...

    async def stored_bytes(self, prefix: str) -> int:
        """Return the bytes that events below a prefix take."""
        ...


class StoredEvents(Generic[AnEntry, Absent]):
    """An ``EventStore`` on the streams of a store."""

    def __init__(self, parts: StoreParts[AnEntry, Absent]) -> None:
        self._streams = parts.streams
        self._entry = parts.entry

    async def append(self, name: str, events: Sequence[LogEvent]) -> None:
        """Append events in order; a dead process cannot lose them afterwards."""
        entries = [self._entry(e.at_ms, _HEAD.pack(e.ingested_ms, e.number) + e.message) for e in events]
        await self._streams.append(name, *entries)

    async def read(
        self, name: str, *, start_ms: int, end_ms: int, after: object, limit: int, newest_first: bool
    ) -> Slice:
        """Return a slice of entries that ``parse_event`` reads."""
        return await self._streams.read(
            name, start_ms=start_ms, end_ms=end_ms, after=after, limit=limit, newest_first=newest_first
        )

    async def drop(self, name: str, *, before_ms: int) -> None:
        """Forget the events before an instant."""
        await self._streams.drop(name, before_ms=before_ms)

    async def remove(self, name: str) -> None:
        """Forget all events."""
        await self._streams.remove(name)

    async def names(self, prefix: str) -> list[str]:
        """Return the names that hold an event."""
        return await self._streams.names(prefix)

    async def stored_bytes(self, prefix: str) -> int:
        """Return the bytes that events below a prefix take."""
        return (await self._streams.usage(prefix)).bytes
