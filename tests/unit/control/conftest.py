"""Everything around the commands: called as the frontend calls them, settled as the reconciler settles."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from lambent.access.sealing import KEY_BYTES, Sealer
from lambent.control.commands import LambdaCommands
from lambent.model.documents import FUNCTION_SPECS, VERSION_SPECS, function_spec_key
from lambent.model.errors import CallerError, NeighbourRefusal, RequestTooLarge
from lambent.model.ids import Digest, RequestId, Scope
from lambent.model.requests import Caller, Members, RequestContext
from lambent.reconcile.functions import FunctionReconciler
from lambent.runtimes.catalogue import RuntimeCatalogue
from lambent.store.contract import ANY
from lambent.testing.clock import FakeClock
from lambent.testing.memory_store import MemoryStore

SCOPE = Scope("123456789012", "us-east-1")


class PausingDocuments:
    """The store's documents, with a pause around every operation so that writers really interleave."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._documents = MemoryStore(self.clock).documents
        self.history: list[tuple[str, object]] = []  # every write that succeeded: key, value or None
        self.watch = self._documents.watch

    async def find(self, key):
        await asyncio.sleep(0)
        return await self._documents.find(key)

    async def list(self, prefix, *, after="", limit=1000):
        await asyncio.sleep(0)
        return await self._documents.list(prefix, after=after, limit=limit)

    async def put(self, key, value, *, expect=ANY, fence=None):
        await asyncio.sleep(0)
        rev = await self._documents.put(key, value, expect=expect)
        self.history.append((key, value))
        return rev

    async def transact(self, *ops, fence=None, op=None):
        await asyncio.sleep(0)
        revs = await self._documents.transact(*ops)
        self.history += [(op.key, getattr(op, "value", None)) for op, rev in zip(ops, revs, strict=True) if rev]
        return revs

    async def delete(self, key, *, expect=ANY, fence=None):
        await asyncio.sleep(0)
        if rev := await self._documents.delete(key, expect=expect):
            self.history.append((key, None))
        return rev


@dataclass(frozen=True)
class Package:
    digest: Digest
    zip_bytes: int
    unzipped_bytes: int

    @property
    def sha256_base64(self) -> str:
        return base64.b64encode(bytes.fromhex(self.digest)).decode()


class Packages:
    """Takes any bytes for a package; and plays the trees that the reconciler asks for."""

    def __init__(self) -> None:
        self.kept: set[Digest] = set()

    async def ingest(self, data, *, zipped_limit_bytes):
        content = data if isinstance(data, bytes) else b"".join([chunk async for chunk in data])
        if len(content) > zipped_limit_bytes:
            raise RequestTooLarge(f"Zipped size must be smaller than {zipped_limit_bytes} bytes")
        digest = Digest(hashlib.sha256(content).hexdigest())
        self.kept.add(digest)
        return Package(digest, len(content), 3 * len(content))

    async def ensure_tree(self, digest):
        assert digest in self.kept

    async def ensure_bytecode(self, digest, python):
        raise AssertionError("no Python was offered")

    async def prepare(self, identifier, architecture):
        return SimpleNamespace(python=None, version_arn=RuntimeCatalogue.load().find(identifier).version_arn)


class Bucket:
    """S3 with one bucket."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str | None], bytes] = {}

    async def fetch_object(self, bucket: str, key: str, version: str | None, scope: Scope) -> AsyncIterator[bytes]:
        if bucket != "code":
            raise NeighbourRefusal("NoSuchBucket", "The specified bucket does not exist")
        if (key, version) not in self.objects:
            raise NeighbourRefusal("NoSuchKey", "The specified key does not exist.")
        yield self.objects[key, version][:2]
        yield self.objects[key, version][2:]


class World:
    """The commands of one account, and the reconciler beside them."""

    def __init__(self, documents) -> None:
        self.documents, self.clock = documents, documents.clock
        self.packages, self.bucket, self.applied = Packages(), Bucket(), []
        self.catalogue = RuntimeCatalogue.load()
        self.commands = LambdaCommands(
            documents=documents,
            applied=self._apply,
            packages=self.packages,
            objects=self.bucket,
            sealer=Sealer(bytes(KEY_BYTES)),
            runtimes=self.catalogue,
            sign_location=lambda scope, name, digest, endpoint: f"{endpoint}/code/{name}/{digest}",
            clock=self.clock,
            architecture="x86_64",
            reachable=lambda service: "it is off" if service == "events" else None,
        ).commands()
        self.reconciler = FunctionReconciler(documents, self.packages, self.packages, self._apply, self.clock)

    async def _apply(self, key: str, rev: int) -> None:
        self.applied.append((key, rev))

    async def call(self, operation: str, scope: Scope = SCOPE, /, **members: object) -> Members:
        caller = Caller(scope.account_id, f"arn:aws:iam::{scope.account_id}:user/u")
        ctx = RequestContext(scope, RequestId("r"), caller, "http://127.0.0.1:4566")
        return await self.commands[operation](ctx, members)

    async def refusal(self, operation: str, scope: Scope = SCOPE, /, **members: object) -> tuple[str, str]:
        """Return code and message of the error that the command must raise."""
        with pytest.raises(CallerError) as caught:
            await self.call(operation, scope, **members)
        return caught.value.code, caught.value.message

    async def create(self, name: str = "f", **members: object) -> Members:
        return await self.call("CreateFunction", **{**creation(name), **members})

    async def settle(self, *names: str) -> None:
        specs = await self.documents.list(FUNCTION_SPECS)
        for key in [function_spec_key(SCOPE, name) for name in names] or [doc.key for doc in specs.docs]:
            await self.reconciler.reconcile_once(key)
        for doc in (await self.documents.list(VERSION_SPECS)).docs:
            if not names or doc.key.split("/")[4] in names:
                await self.reconciler.reconcile_once(doc.key)

    async def stored(self, name: str = "f") -> Members:
        """Return the spec's document as it is stored."""
        return (await self.documents.find(function_spec_key(SCOPE, name))).value

    async def create_active(self, name: str = "f", **members: object) -> Members:
        await self.create(name, **members)
        await self.settle(name)
        return await self.call("GetFunctionConfiguration", FunctionName=name)


def creation(name: str = "f") -> Members:
    """The least that CreateFunction takes."""
    return {
        "FunctionName": name,
        "Runtime": "python3.13",
        "Handler": "a.b",
        "Role": "arn:aws:iam::123456789012:role/r",
        "Code": {"ZipFile": b"PK-one"},
    }


@pytest.fixture
def world() -> World:
    """An account without functions."""
    return World(PausingDocuments())
