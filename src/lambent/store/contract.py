"""The store's contract: five primitives as Protocols, their values and their errors.

Every engine passes ``tests/contract/store``. Nothing outside ``store`` knows which engine it has. The limits that
all engines check alike stand in ``store.limits``.
"""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, NewType, Protocol, TypeAlias

import msgspec

from lambent.model.errors import HostError

Json: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None
Revisions: TypeAlias = list[int]  # (a class with a method `list` cannot name the type)
Cursor = NewType("Cursor", str)  # a point in the history of all documents; opaque
OpId = NewType("OpId", str)  # a caller's name of one try of a transaction, so that a repetition is harmless
Position = NewType("Position", str)  # of one entry of one stream; opaque; sorts as the entries were appended


# --- errors -------------------------------------------------------------------------------------------------------


class StoreError(HostError):
    """The root of what the store raises."""


class Conflict(StoreError):
    """A document is not what ``expect`` said; nothing changed. ``current_rev`` is None where there is none."""

    def __init__(self, key: str, current_rev: int | None) -> None:
        super().__init__(f"document {key!r} is at {'no revision' if current_rev is None else current_rev}")
        self.key, self.current_rev = key, current_rev


class Fenced(StoreError):
    """The holding of the writer expired, was released, or was superseded; nothing changed."""


class NotOwner(StoreError):
    """A receipt or holding is dead. ``deliveries`` are those without effect; the others of the call took effect."""

    def __init__(self, message: str, deliveries: Sequence["Delivery"] = ()) -> None:
        super().__init__(message)
        self.deliveries = tuple(deliveries)


class WatchLost(StoreError):
    """The cursor is older than the history that is kept: list again, then watch from the new cursor."""


class TooLarge(StoreError):
    """A key, value, body, delay or batch is beyond the limits; nothing changed."""


class Corrupt(StoreError):
    """Stored bytes are not what was stored, or uploaded bytes are not what was announced."""


class Missing(StoreError):
    """There is no blob of that digest."""


class Unavailable(StoreError):
    """Surely nothing happened; try again."""


class Unknown(StoreError):
    """It may have happened: repeat with the same ``op`` or item ``id``; it takes effect at most once."""


# --- documents ----------------------------------------------------------------------------------------------------


class Expect(Enum):
    """What a write may find besides one certain revision."""

    ANY = "any"
    ABSENT = "absent"


ANY: Final = Expect.ANY
ABSENT: Final = Expect.ABSENT


@dataclass(frozen=True, slots=True)
class Doc:
    """A document as it stands. ``rev`` grows per key and is never used again.

    ``encoded`` is its JSON as it is stored: who keeps thousands need not parse them.
    """

    key: str
    encoded: bytes
    rev: int

    @property
    def value(self) -> Json:
        """The value, parsed anew each time: a reader may change what it got."""
        return _decode(self.encoded)


@dataclass(frozen=True, slots=True)
class Page:
    """One consistent snapshot. ``next`` is the ``after`` of the following page, None at the end.

    ``cursor`` is where ``watch`` goes on without a gap; over several pages take the first page's.
    """

    docs: tuple[Doc, ...]
    next: str | None
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Change:
    """A document's newer state; a deletion has the value None, and nothing ``encoded``."""

    key: str
    rev: int
    encoded: bytes | None

    @property
    def value(self) -> Json:
        """The value, parsed anew each time."""
        return None if self.encoded is None else _decode(self.encoded)


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """What is put into a queue. The same ``id`` in one queue within 24 hours is one item.

    Items of one ``group`` are delivered in order, one at a time.
    """

    body: bytes
    delay_s: float = 0.0
    id: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Write one document. The value None is refused with ValueError: in ``Change`` it means a deletion."""

    key: str
    value: Json
    expect: int | Expect = ANY


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one document; with ``ANY``, one that is not there changes nothing."""

    key: str
    expect: int | Expect = ANY


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Put one message into a queue, in the same commit as the documents beside it."""

    queue: str
    message: QueueMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A lease's share as its holder knows it. ``token`` grows per name for ever; ``expires_at`` is the store's."""

    name: str
    holder: str
    amount: int
    token: int
    epoch: int
    expires_at: datetime


class Documents(Protocol):
    """JSON documents by key, with revisions, transactions and change notices."""

    async def find(self, key: str) -> Doc | None:
        """Return the document, as of every write acknowledged before."""
        ...

    async def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Page:
        """Return up to ``limit`` documents whose keys begin with ``prefix``, after ``after``, in byte order of keys."""
        ...

    async def transact(
        self, *ops: Put | Delete | Enqueue, fence: Holding | None = None, op: OpId | None = None
    ) -> Revisions:
        """Do all or nothing; return a number an operation: the new revision, 0 for an Enqueue or a Delete of nothing.

        Raises Conflict, Fenced (checked in the same commit). The same ``op`` within 24 hours takes effect once
        and returns what it returned.
        """
        ...

    async def put(self, key: str, value: Json, *, expect: int | Expect = ANY, fence: Holding | None = None) -> int:
        """Write one document; return its revision."""
        ...

    async def delete(self, key: str, *, expect: int | Expect = ANY, fence: Holding | None = None) -> int:
        """Delete one document; return the revision of the deletion, 0 if there was nothing."""
        ...

    def watch(self, prefix: str, cursor: Cursor) -> AsyncIterator[Change]:
        """Yield every last state after ``cursor``, for ever. Middle states may be merged. Raises WatchLost."""
        ...


# --- queue --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """One item in one receiver's hand. ``attempt`` counts deliveries from 1."""

    id: str
    body: bytes
    attempt: int
    receipt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How full a queue is. ``oldest_age_s`` is since the enqueue of the oldest item, 0 for an empty queue."""

    visible: int
    in_flight: int
    delayed: int
    oldest_age_s: float


class Queue(Protocol):
    """Durable queues by name: at least once, exclusive while a delivery lives."""

    async def enqueue(self, queue: str, *messages: QueueMessage) -> list[str]:
        """Return the items' ids once they are durable."""
        ...

    async def receive(self, queue: str, *, limit: int, visible_after_s: float, wait_s: float) -> list[Delivery]:
        """Return up to ``limit`` items, each ours for ``visible_after_s``; waits up to ``wait_s`` for the first."""
        ...

    async def ack(self, *deliveries: Delivery) -> None:
        """Remove items for ever, each for itself. Raises NotOwner that lists those whose receipts are dead.

        A receipt dies when its item is delivered anew, acknowledged or given back; not by time alone.
        """
        ...

    async def nak(self, delivery: Delivery, *, delay_s: float, body: bytes | None = None) -> None:
        """Give an item back, visible after ``delay_s``, with a new body if given. Raises NotOwner."""
        ...

    async def extend(self, delivery: Delivery, *, visible_after_s: float) -> None:
        """Keep an item for ``visible_after_s`` from now. Raises NotOwner."""
        ...

    async def depth(self, queue: str) -> Depth:
        """Return the counts of a queue. An item that waits for its group counts as visible."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the queues below ``prefix`` that hold an item, in byte order."""
        ...

    async def hasten(self, queue: str) -> int:
        """Make every item that is delayed, and in nobody's hand, visible now; return how many."""
        ...

    async def purge(self, queue: str) -> int:
        """Remove every item, also those in somebody's hand, whose receipts die; return how many."""
        ...


# --- leases -------------------------------------------------------------------------------------------------------


class Leases(Protocol):
    """Shares of a limit that end by themselves."""

    async def acquire(
        self,
        name: str,
        holder: str,
        *,
        ttl_s: float,
        amount: int = 1,
        limit: int = 1,
        partial: bool = False,
        linger_s: float = 0.0,
        epoch: int = 0,
    ) -> Holding | None:
        """Return the holder's whole holding of ``name``, grown by ``amount``; None where that would pass ``limit``.

        ``partial`` takes as many as fit, None if not one does. A live holding keeps its token when it grows, and
        its end becomes ``ttl_s`` from now. After its end it still counts for ``linger_s``, and gives no right.
        A higher ``epoch`` ends all older holdings of this holder, under every name, at once; a lower one than the
        highest known is Fenced.
        """
        ...

    async def renew(self, *holdings: Holding, ttl_s: float) -> list[bool]:
        """Move the ends to ``ttl_s`` from now, in one commit; False for each that is not live."""
        ...

    async def release(self, holding: Holding, amount: int | None = None) -> None:
        """Give back ``amount`` (None: all) at once, without lingering. Raises NotOwner."""
        ...

    async def holders(self, name: str) -> list[Holding]:
        """Return the live holdings of ``name``, by holder."""
        ...


# --- blobs --------------------------------------------------------------------------------------------------------


class Blobs(Protocol):
    """Immutable bytes by their SHA-256."""

    async def put(self, chunks: AsyncIterable[bytes], *, expect: str | None = None) -> str:
        """Return the digest (64 hexadecimal digits) once content and name are durable.

        Raises Corrupt, and keeps nothing, where the digest is not ``expect``.
        """
        ...

    def read(self, digest: str) -> AsyncIterator[bytes]:
        """Yield the content in pieces, verified before the first. Raises Missing, Corrupt."""
        ...

    async def delete(self, digest: str) -> None:
        """Remove the content if it is there. Callers hold the rule of who refers to it."""
        ...


# --- streams ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream; ``at_ms`` is the writer's, milliseconds since 1970, and need not grow."""

    at_ms: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Slice:
    """Some entries of a stream, with their positions; ``has_more``: the same question after ``last`` finds more."""

    entries: tuple[Entry, ...]
    positions: tuple[Position, ...]
    has_more: bool

    @property
    def last(self) -> Position | None:
        """Where to go on reading in the same direction."""
        return self.positions[-1] if self.positions else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What streams hold. ``bytes`` counts bodies; ``oldest`` is the lowest ``at_ms``.

    ``evicted`` counts the entries, of all streams, that the total bound has cost since this client opened.
    """

    bytes: int
    entries: int
    oldest: int | None
    evicted: int = 0


class Streams(Protocol):
    """Append-only streams by name: much, cheap, allowed to age; at a total bound the oldest go."""

    async def append(self, stream: str, *entries: Entry, durable: bool = False) -> None:
        """Append in order. Returns when a dead process cannot lose them; ``durable``: when a power cut cannot."""
        ...

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
        """Return entries with ``start_ms <= at_ms < end_ms`` in order of append, or in the opposite order.

        ``after`` is the last position already seen, in the direction of reading. An unknown stream is empty.
        One slice holds at most ``limit`` entries, and ends earlier where it passes 8 MiB.
        """
        ...

    async def drop(self, stream: str, *, before_ms: int) -> None:
        """Forget the entries with ``at_ms < before_ms``."""
        ...

    async def remove(self, stream: str) -> None:
        """Forget the stream whole."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the streams below ``prefix`` that hold an entry, in byte order."""
        ...

    async def usage(self, prefix: str) -> Usage:
        """Return what the streams below ``prefix`` hold."""
        ...


class Store(Protocol):
    """The five primitives of one place."""

    @property
    def documents(self) -> Documents:
        """Documents."""
        ...

    @property
    def queue(self) -> Queue:
        """Queues."""
        ...

    @property
    def leases(self) -> Leases:
        """Leases."""
        ...

    @property
    def blobs(self) -> Blobs:
        """Blobs."""
        ...

    @property
    def streams(self) -> Streams:
        """Streams."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why writes fail at present, None while they work."""
        ...


def _decode(encoded: bytes) -> Json:
    value: Json = msgspec.json.decode(encoded)
    return value
