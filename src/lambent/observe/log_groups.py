"""Log groups and streams as documents, and the retention that acts on them.

A group's and a stream's events are found by ids that are never used again, so that a group made anew is empty at
once. Both platform and callers make groups; documents are written under their revision.
"""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import msgspec
import structlog

from lambent.model.clock import Clock
from lambent.model.errors import HostError
from lambent.model.ids import Scope
from lambent.observe import log_names
from lambent.observe.log_errors import (
    DeletionProtected,
    LogResourceAlreadyExists,
    no_group,
    no_stream,
)
from lambent.observe.log_events import EventStore, to_ms
from lambent.observe.log_pages import Source
from lambent.observe.store_seam import DocumentStore

SCHEMA: Final = 1
DAY_MS: Final = 86_400_000
DISORDER_MS: Final = 2_000  # of a new stream: seconds-only timestamps of functions stay below, so nothing is written
EMPTY_STREAM_DAYS: Final = 1  # after this, an environment's stream that holds nothing is forgotten
SWEEP_EVERY_S: Final = 3_600.0

_PREFIX_CHARS: Final = 50  # of a name's prefix that keys are searched by; names are compared whole afterwards

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogGroup:
    """A log group. ``id`` is part of where its events are kept."""

    scope: Scope
    name: str
    id: str
    created_ms: int
    retention_days: int | None = None
    is_protected: bool = False
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def events_prefix(self) -> str:
        """Below this, all its events are kept."""
        return log_names.events_prefix(self.scope, self.id)

    def oldest_ms(self, now_ms: int) -> int:
        """Return the time before which its events have expired."""
        return 0 if self.retention_days is None else now_ms - self.retention_days * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStream:
    """A log stream. No two events of it are more than ``disorder_ms`` out of order."""

    name: str
    id: str
    created_ms: int
    disorder_ms: int = DISORDER_MS
    is_of_environment: bool = False


class LogGroups:
    """All log groups and streams of a store."""

    def __init__(self, documents: DocumentStore, events: EventStore, clock: Clock) -> None:
        self._documents, self._events, self._clock = documents, events, clock

    # --- groups

    async def find_group(self, scope: Scope, name: str) -> LogGroup | None:
        """Return a group, or None."""
        doc = await self._documents.find(log_names.group_key(scope, name))
        return _parse(doc.value, LogGroup) if doc else None

    async def get_group(self, scope: Scope, name: str) -> LogGroup:
        """Return a group; ResourceNotFound if there is none."""
        if (group := await self.find_group(scope, name)) is None:
            raise no_group()
        return group

    async def create_group(
        self, scope: Scope, name: str, *, is_protected: bool = False, tags: tuple[tuple[str, str], ...] = ()
    ) -> LogGroup:
        """Make a group; LogResourceAlreadyExists if there is one of that name."""
        group = LogGroup(
            scope=scope,
            name=name,
            id=uuid.uuid4().hex,
            created_ms=self._now_ms(),
            is_protected=is_protected,
            tags=tags,
        )
        if not await self._documents.create(log_names.group_key(scope, name), _render(group)):
            raise LogResourceAlreadyExists("The specified log group already exists")
        return group

    async def set_retention(self, scope: Scope, name: str, days: int | None) -> None:
        """Set after how many days events go; None: never."""
        key = log_names.group_key(scope, name)
        while True:
            if (doc := await self._documents.find(key)) is None:
                raise no_group()
            group = replace(_parse(doc.value, LogGroup), retention_days=days)
            if await self._documents.replace(key, _render(group), doc.rev):
                return

    async def delete_group(self, scope: Scope, name: str) -> None:
        """Delete a group with its streams and events. What a crash leaves of it, the sweeper removes."""
        group = await self.get_group(scope, name)
        if group.is_protected:
            raise DeletionProtected("The specified log group has deletion protection enabled.")
        await self._documents.delete(log_names.group_key(scope, name))
        async for stream in self.streams(group):
            await self._forget_stream(group, stream)

    async def groups(self, scope: Scope, prefix: str = "", *, after: str = "") -> AsyncIterator[LogGroup]:
        """Yield the groups whose names begin with ``prefix``, by name, beginning behind the name ``after``."""
        start = log_names.groups_prefix(scope) + _searchable(prefix)
        behind = log_names.group_key(scope, after) if after else ""
        async for value in self._values(start, behind):
            if (group := _parse(value, LogGroup)).name.startswith(prefix):
                yield group

    # --- streams

    async def find_stream(self, group: LogGroup, name: str) -> LogStream | None:
        """Return a stream, or None."""
        doc = await self._documents.find(log_names.stream_key(group.scope, group.id, name))
        return _parse(doc.value, LogStream) if doc else None

    async def get_stream(self, group: LogGroup, name: str) -> LogStream:
        """Return a stream; ResourceNotFound if there is none."""
        if (stream := await self.find_stream(group, name)) is None:
            raise no_stream()
        return stream

    async def create_stream(self, group: LogGroup, name: str, *, is_of_environment: bool = False) -> LogStream:
        """Make a stream; LogResourceAlreadyExists if there is one of that name."""
        stream = LogStream(
            name=name, id=uuid.uuid4().hex, created_ms=self._now_ms(), is_of_environment=is_of_environment
        )
        if not await self._documents.create(log_names.stream_key(group.scope, group.id, name), _render(stream)):
            raise LogResourceAlreadyExists("The specified log stream already exists")
        return stream

    async def ensure_stream(self, scope: Scope, group_name: str, name: str) -> tuple[LogGroup, LogStream]:
        """Return an environment's stream, made with its group where they are missing."""
        while True:
            try:
                group = await self.find_group(scope, group_name) or await self.create_group(scope, group_name)
                stream = await self.find_stream(group, name)
                return group, stream or await self.create_stream(group, name, is_of_environment=True)
            except LogResourceAlreadyExists:
                continue  # another made it between our two looks

    async def delete_stream(self, group: LogGroup, name: str) -> None:
        """Delete a stream with its events."""
        await self._forget_stream(group, await self.get_stream(group, name))

    async def streams(self, group: LogGroup, prefix: str = "", *, after: str = "") -> AsyncIterator[LogStream]:
        """Yield the streams whose names begin with ``prefix``, by name, beginning behind the name ``after``."""
        start = log_names.streams_prefix(group.scope, group.id) + _searchable(prefix)
        behind = log_names.stream_key(group.scope, group.id, after) if after else ""
        async for value in self._values(start, behind):
            if (stream := _parse(value, LogStream)).name.startswith(prefix):
                yield stream

    async def allow_disorder(self, group: LogGroup, name: str, disorder_ms: int) -> None:
        """Note, before such events are appended, that a stream's events may be out of order by so much."""
        key = log_names.stream_key(group.scope, group.id, name)
        while True:
            if (doc := await self._documents.find(key)) is None:
                raise no_stream()
            stream = _parse(doc.value, LogStream)
            if stream.disorder_ms >= disorder_ms:
                return
            # The next power of two, so that a stream that gets worse step by step is written a few times only.
            wider = replace(stream, disorder_ms=1 << (disorder_ms - 1).bit_length())
            if await self._documents.replace(key, _render(wider), doc.rev):
                return

    def source(self, group: LogGroup, stream: LogStream) -> Source:
        """Return where a stream's events are read."""
        return Source(stream.name, log_names.events_name(group.scope, group.id, stream.id), stream.disorder_ms)

    # --- retention

    async def run(self) -> None:
        """Sweep for ever, until cancelled."""
        while True:
            try:
                await self.sweep_once()
            except Exception:
                log.exception("log_sweep_failed")
            await self._clock.sleep_s(SWEEP_EVERY_S)

    async def sweep_once(self) -> bool:
        """Drop expired events, environments' streams that became empty, and what deletions left behind."""
        # The order matters: a stream's document is there before its first event, so that a name seen here without
        # a document seen later belongs to nothing.
        names = set(await self._events.names(log_names.EVENTS_PREFIX))
        now_ms = self._now_ms()
        groups = {
            group.id: group
            async for value in self._values(log_names.GROUPS_PREFIX)
            for group in (_parse(value, LogGroup),)
        }
        kept: set[str] = set()
        dropped = 0
        async for key, value in self._documents_below(log_names.STREAMS_PREFIX):
            group = groups.get(key.split("/")[4])
            stream = _parse(value, LogStream)
            if group is None or self._is_spent(group, stream, names, now_ms):
                await self._documents.delete(key)
                dropped += 1
                continue
            name = self.source(group, stream).name
            kept.add(name)
            if group.retention_days is not None and name in names:
                await self._events.drop(name, before_ms=group.oldest_ms(now_ms))
        for name in names - kept:
            await self._events.remove(name)
        if dropped or names - kept:
            log.info("log_streams_swept", documents=dropped, streams=len(names - kept))
        return bool(dropped or names - kept)

    def _is_spent(self, group: LogGroup, stream: LogStream, names: set[str], now_ms: int) -> bool:
        is_old = stream.created_ms < now_ms - EMPTY_STREAM_DAYS * DAY_MS
        return stream.is_of_environment and is_old and self.source(group, stream).name not in names

    # --- documents

    async def _forget_stream(self, group: LogGroup, stream: LogStream) -> None:
        await self._documents.delete(log_names.stream_key(group.scope, group.id, stream.name))
        await self._events.remove(self.source(group, stream).name)

    async def _values(self, prefix: str, after: str = "") -> AsyncIterator[Any]:
        async for _, value in self._documents_below(prefix, after):
            yield value

    async def _documents_below(self, prefix: str, after: str = "") -> AsyncIterator[tuple[str, Any]]:
        next_after: str | None = after
        while next_after is not None:
            page = await self._documents.list(prefix, after=next_after)
            for doc in page.docs:
                yield doc.key, doc.value
            next_after = page.next

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())


_T = TypeVar("_T", LogGroup, LogStream)


def _parse(value: Any, kind: type[_T]) -> _T:
    if not isinstance(value, dict) or not isinstance(value.get("schema"), int) or value["schema"] > SCHEMA:
        raise HostError(f"{kind.__name__}: the document's schema is not one of 1 to {SCHEMA}; a newer Lambent wrote it")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise HostError(f"{kind.__name__}: damaged document: {error}") from error


def _render(value: LogGroup | LogStream) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return {"schema": SCHEMA, **document}


def _searchable(prefix: str) -> str:
    """Return the part of a name's prefix that the keys of all such names begin with, shortened ones too."""
    end = next((i for i, char in enumerate(prefix) if not (char.isascii() and char.isprintable())), len(prefix))
    return prefix[: min(end, _PREFIX_CHARS)]
