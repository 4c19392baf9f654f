"""A store of documents for unit tests: in memory, with a pause at every await so that writers really interleave."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator

import pytest

from lambent.store.contract import ABSENT, ANY, Change, Conflict, Cursor, Doc, Expect, Json, Page


class FakeDocuments:
    """Documents as the store's contract has them, without transactions."""

    def __init__(self) -> None:
        self.docs: dict[str, Doc] = {}
        self.log: list[Change] = []
        self.writes: list[str] = []
        self._revs = itertools.count(1)
        self._changed = asyncio.Event()

    async def find(self, key: str) -> Doc | None:
        await asyncio.sleep(0)
        return self.docs.get(key)

    async def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> Page:
        await asyncio.sleep(0)
        keys = sorted(key for key in self.docs if key.startswith(prefix) and key > after)
        shown = tuple(self.docs[key] for key in keys[:limit])
        return Page(shown, keys[limit - 1] if len(keys) > limit else None, Cursor(str(len(self.log))))

    async def put(self, key: str, value: Json, *, expect: int | Expect = ANY, fence: object = None) -> int:
        await asyncio.sleep(0)
        self._require(key, expect)
        rev = next(self._revs)
        self.docs[key] = Doc(key, json.loads(json.dumps(value)), rev)
        self._notice(Change(key, rev, self.docs[key].value))
        return rev

    async def delete(self, key: str, *, expect: int | Expect = ANY, fence: object = None) -> int:
        await asyncio.sleep(0)
        self._require(key, expect)
        if self.docs.pop(key, None) is None:
            return 0
        rev = next(self._revs)
        self._notice(Change(key, rev, None))
        return rev

    async def watch(self, prefix: str, cursor: Cursor) -> AsyncIterator[Change]:
        position = int(cursor)
        while True:
            for change in self.log[position:]:
                position += 1
                if change.key.startswith(prefix):
                    yield change
            self._changed.clear()
            if position == len(self.log):
                await self._changed.wait()

    def _require(self, key: str, expect: int | Expect) -> None:
        current = self.docs[key].rev if key in self.docs else None
        if expect is not ANY and (current is not None if expect is ABSENT else current != expect):
            raise Conflict(key, current)

    def _notice(self, change: Change) -> None:
        self.log.append(change)
        self.writes.append(change.key)
        self._changed.set()


@pytest.fixture
def documents() -> FakeDocuments:
    """An empty store."""
    return FakeDocuments()
