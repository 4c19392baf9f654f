"""A reconciler with a store in memory, trees and runtimes that a test can hold back or break, and a real view."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from lambent.invoke.functions import FunctionView
from lambent.model.documents import (
    CodeSpec,
    FunctionSpec,
    FunctionStatus,
    function_spec_key,
    function_status_key,
    parse_function_status,
    render_function_spec,
)
from lambent.model.errors import HostError
from lambent.model.functions import LogSettings
from lambent.model.ids import Digest, RevisionId, Scope
from lambent.reconcile.functions import FunctionReconciler
from lambent.testing.clock import FakeClock
from lambent.testing.memory_store import MemoryStore

SCOPE = Scope("123456789012", "us-east-1")
FIRST_CODE, SECOND_CODE = Digest("a" * 64), Digest("b" * 64)


def spec(name: str = "f", **changes: object) -> FunctionSpec:
    """A small spec of generation 10."""
    code = changes.pop("digest", FIRST_CODE)
    first = FunctionSpec(
        scope=SCOPE,
        name=name,
        generation=10,
        first_generation=10,
        revision_id=RevisionId("of-the-spec"),
        last_modified_at=datetime(2026, 11, 23, tzinfo=UTC),
        role="arn:aws:iam::123456789012:role/r",
        runtime="python3.13",
        handler="a.b",
        log=LogSettings(group=f"/aws/lambda/{name}"),
        code=CodeSpec(digest=code, sha256_base64="q", zip_bytes=7, unzipped_bytes=9),
    )
    return replace(first, **changes)


class Trees:
    """Trees that unpack when ``gate`` is open, and break for the digests in ``broken``."""

    def __init__(self) -> None:
        self.gate, self.broken = asyncio.Event(), {}
        self.gate.set()
        self.unpacked, self.compiled, self.collected = [], [], []
        self.at_work = self.most_at_work = 0

    async def ensure_tree(self, digest):
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await self.gate.wait()
        finally:
            self.at_work -= 1
        if digest in self.broken:
            raise self.broken[digest]
        self.unpacked.append(digest)

    async def ensure_bytecode(self, digest, python):
        self.compiled.append((digest, python))
        if ("bytecode", digest) in self.broken:
            raise self.broken["bytecode", digest]

    async def collect(self, keep):
        self.collected.append(set(keep))
        return 0


class Runtimes:
    """Runtimes, but for those in ``missing``."""

    def __init__(self) -> None:
        self.missing, self.tries = set(), []

    async def prepare(self, identifier, architecture):
        self.tries.append((identifier, architecture))
        if identifier in self.missing:
            raise HostError(f"The runtime {identifier} is not available on this host: none there. Install it.")
        return SimpleNamespace(python=identifier, version_arn=lambda region: f"arn:{region}:{identifier}")


class Plant:
    """The reconciler and all around it. ``visible`` calls go to a real view of functions and are noted."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.documents = MemoryStore(self.clock).documents
        self.trees, self.runtimes = Trees(), Runtimes()
        self.view = FunctionView(self.documents, self.clock, lambda spec: (), lambda arn, generation: None)
        self.shown: list[FunctionStatus] = []
        self.reconciler = self.make_reconciler()

    def make_reconciler(self) -> FunctionReconciler:
        return FunctionReconciler(self.documents, self.trees, self.runtimes, self.visible, self.clock)

    async def visible(self, key: str, rev: int) -> None:
        self.shown.append(parse_function_status((await self.documents.find(key)).value))

    async def write(self, wanted: FunctionSpec) -> str:
        await self.documents.put(wanted.key, render_function_spec(wanted))
        return wanted.key

    async def delete(self, name: str = "f") -> None:
        await self.documents.delete(function_spec_key(SCOPE, name))

    async def find_status(self, name: str = "f") -> FunctionStatus | None:
        doc = await self.documents.find(function_status_key(SCOPE, name))
        return parse_function_status(doc.value) if doc else None

    async def until(self, truth, *, name: str = "f"):
        """Return the status once ``truth`` holds of it; fails if it never comes to hold."""
        async with asyncio.timeout(5):
            while True:
                status = await self.find_status(name)
                if truth(status):
                    return status
                await asyncio.sleep(0)


@pytest.fixture
def plant() -> Plant:
    """An empty plant."""
    return Plant()
