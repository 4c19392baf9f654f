"""What logs need of a store, as Protocols: ``store`` is a sibling, so ``assembly`` hands its parts in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar


class Entry(Protocol):
    """One entry of a stored stream."""

    @property
    def at_ms(self) -> int:
        """Milliseconds since 1970."""
        ...

    @property
    def body(self) -> bytes:
        """What was appended."""
        ...


class Slice(Protocol):
    """Some entries and where to go on reading."""

    @property
    def entries(self) -> Sequence[Entry]:
        """In the order of reading."""
        ...

    @property
    def has_more(self) -> bool:
        """Whether the same question after ``last`` finds more."""
        ...

    @property
    def last(self) -> Any:
        """The position of the last entry, None if there is none."""
        ...


class Usage(Protocol):
    """What stored streams hold."""

    @property
    def bytes(self) -> int:
        """The sum of all bodies."""
        ...


class Doc(Protocol):
    """A stored document."""

    @property
    def key(self) -> str:
        """Its key."""
        ...

    @property
    def value(self) -> Any:
        """Its value, JSON."""
        ...

    @property
    def rev(self) -> int:
        """Its revision."""
        ...


class Page(Protocol):
    """Some documents in order of their keys."""

    @property
    def docs(self) -> Sequence[Doc]:
        """The documents."""
        ...

    @property
    def next(self) -> str | None:
        """The ``after`` of the next page, None at the end."""
        ...


AnEntry = TypeVar("AnEntry", contravariant=True)
Absent = TypeVar("Absent", contravariant=True)


class Streams(Protocol[AnEntry]):
    """Append-only streams by name."""

    async def append(self, stream: str, *entries: AnEntry, durable: bool = False) -> None:
        """Append in order."""
        ...

    async def read(
        self,
        stream: str,
        *,
        start_ms: int,
        end_ms: int,
        after: Any = None,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Slice:
        """Return entries with ``start_ms <= at_ms < end_ms`` in order of append, or the other way round."""
        ...

    async def drop(self, stream: str, *, before_ms: int) -> None:
        """Forget the entries before an instant."""
        ...

    async def remove(self, stream: str) -> None:
        """Forget the stream whole."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the streams that hold an entry."""
        ...

    async def usage(self, prefix: str) -> Usage:
        """Return what streams hold."""
        ...


class Documents(Protocol[Absent]):
    """JSON documents by key."""

    async def find(self, key: str) -> Doc | None:
        """Return a document."""
        ...

    async def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Page:
        """Return documents in byte order of their keys."""
        ...

    async def put(self, key: str, value: dict[str, Any], *, expect: int | Absent) -> int:
        """Write a document if it is at ``expect``."""
        ...

    async def delete(self, key: str) -> int:
        """Delete a document."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreParts(Generic[AnEntry, Absent]):
    """The parts of a store, and its values by the names that only ``assembly`` may import."""

    documents: Documents[Absent]
    streams: Streams[AnEntry]
    entry: Callable[[int, bytes], AnEntry]
    absent: Absent  # what ``expect`` says of a document that must not be there
    conflict: type[Exception]  # raised where ``expect`` does not hold


class DocumentStore(Protocol):
    """Documents whose writes say whether they won, instead of raising what only ``store`` knows."""

    async def find(self, key: str) -> Doc | None:
        """Return a document."""
        ...

    async def list(self, prefix: str, *, after: str) -> Page:
        """Return documents in byte order of their keys."""
        ...

    async def create(self, key: str, value: dict[str, Any]) -> bool:
        """Write a document that must not be there; False if it is."""
        ...

    async def replace(self, key: str, value: dict[str, Any], rev: int) -> bool:
        """Write a document that must be at ``rev``; False if it is not."""
        ...

    async def delete(self, key: str) -> None:
        """Delete a document if it is there."""
        ...


class StoredDocuments(Generic[AnEntry, Absent]):
    """A ``DocumentStore`` on the documents of a store."""

    def __init__(self, parts: StoreParts[AnEntry, Absent]) -> None:
        self._documents: Documents[Absent] = parts.documents
        self._absent, self._conflict = parts.absent, parts.conflict

    async def find(self, key: str) -> Doc | None:
        """Return a document."""
        return await self._documents.find(key)

    async def list(self, prefix: str, *, after: str) -> Page:
        """Return documents in byte order of their keys."""
        return await self._documents.list(prefix, after=after)

    async def create(self, key: str, value: dict[str, Any]) -> bool:
        """Write a document that must not be there; False if it is."""
        return await self._put(key, value, self._absent)

    async def replace(self, key: str, value: dict[str, Any], rev: int) -> bool:
        """Write a document that must be at ``rev``; False if it is not."""
        return await self._put(key, value, rev)

    async def delete(self, key: str) -> None:
        """Delete a document if it is there."""
        await self._documents.delete(key)

    async def _put(self, key: str, value: dict[str, Any], expect: int | Absent) -> bool:
        try:
            await self._documents.put(key, value, expect=expect)
        except self._conflict:
            return False
        return True
