"""Deployment packages: checked at the door, kept as blobs, unpacked once into read-only trees named by digest.

Beneath ``root`` (the launcher's code root): ``<digest>`` is an unpacked tree, ``<digest>.cpython-312`` its bytecode,
``.blob-<digest>`` says that this host once stored that blob, ``.tmp-*`` is work in progress.
"""

import asyncio
import base64
import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar
from weakref import WeakValueDictionary

from lambent.artifacts.bytecode import compile_tree
from lambent.artifacts.unpack import Stop, Stopped, check_archive, remove_tree, sync_tree, unpack_archive
from lambent.artifacts.zip_format import BadZip, read_entries
from lambent.model.errors import HostError, InvalidParameterValue, RequestTooLarge
from lambent.model.ids import Digest, TreeName
from lambent.model.interpreters import PythonTarget

# Developer guide, "Lambda quotas": 50 MB zipped by direct upload, 250 MB unzipped; texts are recorded from AWS.
DIRECT_UPLOAD_LIMIT_BYTES: Final = 52_428_800
UNZIPPED_LIMIT_BYTES: Final = 262_144_000
_CHUNK_BYTES: Final = 1024 * 1024
_BLOB: Final = ".blob-"
_TEMPORARY: Final = ".tmp-"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CodePackage:
    """A deployment package that passed every check and is stored."""

    digest: Digest
    zip_bytes: int
    unzipped_bytes: int

    @property
    def sha256_base64(self) -> str:
        """AWS's ``CodeSha256``: of the ZIP as uploaded."""
        return base64.b64encode(bytes.fromhex(self.digest)).decode()


class BlobsLike(Protocol):
    """What is needed of the store: content-addressed, durable, verified on reading."""

    async def put(self, chunks: AsyncIterable[bytes], *, expect: str | None = None) -> str:
        """Store the chunks, return their SHA-256 when they are durable."""
        ...

    def read(self, digest: str) -> AsyncIterator[bytes]:
        """Yield the content, or raise."""
        ...

    async def delete(self, digest: str) -> None:
        """Forget it; no error if it is not there."""
        ...


class Artifacts:
    """Owns the code root. Several processes may share one root; each calls ``open`` before anything else."""

    def __init__(self, root: Path, blobs: BlobsLike) -> None:
        self._root = root
        self._blobs = blobs
        self._uses: Counter[Digest] = Counter()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._empty: dict[TreeName, bool] = {}  # trees of bytecode that were looked into
        self._root_lock: int | None = None

    async def open(self) -> None:
        """Make the root; remove what killed processes left half done, unless another process works there now."""
        self._root_lock = await asyncio.to_thread(self._open_root)

    def close(self) -> None:
        """Let go of the root."""
        if self._root_lock is not None:
            os.close(self._root_lock)
            self._root_lock = None

    async def ingest(
        self, data: bytes | AsyncIterable[bytes], *, zipped_limit_bytes: int = DIRECT_UPLOAD_LIMIT_BYTES
    ) -> CodePackage:
        """Check the ZIP and store it; durable on return. Raises CallerError with AWS's texts, and then left nothing.

        ``zipped_limit_bytes`` is for packages that come by another way than the request, where only the unzipped size
        is limited.
        """
        with self._temporary_file() as path:
            digest, size = await self._spool(data, path, zipped_limit_bytes)
            unzipped = await _run_in_thread(lambda stop: _check_zip(path, stop))
            async with self._lock(digest):
                # The mark comes first, and stays if this fails: no crash leaves a blob that collect does not know of.
                await asyncio.to_thread((self._root / f"{_BLOB}{digest}").touch, 0o644)
                await self._blobs.put(_read_chunks(path), expect=digest)
        return CodePackage(digest, size, unzipped)

    def read(self, digest: Digest) -> AsyncIterator[bytes]:
        """Yield the ZIP as uploaded."""
        return self._blobs.read(digest)

    async def ensure_tree(self, digest: Digest) -> TreeName:
        """Return the unpacked tree of ``digest``, unpacking it if need be. Concurrent callers share the work."""
        async with self._lock(digest):
            if not (self._root / digest).is_dir():
                with self._temporary_file() as path:
                    await self._spool(self._blobs.read(digest), path, None)
                    await self._build(digest, lambda tree, stop: _unpack(path, tree, stop))
        return TreeName(digest)

    async def ensure_bytecode(self, digest: Digest, python: PythonTarget) -> TreeName | None:
        """Return the tree of compiled ``.pyc`` for ``python``, or None when there is nothing to compile.

        It holds ``var/task/<module>.<cache tag>.pyc``. Compiling never executes the code and is bounded in time.
        """
        name = TreeName(f"{digest}.{python.cache_tag}")
        code = self._root / await self.ensure_tree(digest)
        async with self._lock(digest):
            if not (self._root / name).is_dir():
                await self._build(name, lambda tree, stop: compile_tree(code, tree, python, stop))
                self._empty.pop(name, None)
            if name not in self._empty:  # every cold start asks, and a thread costs it a tenth of a millisecond
                self._empty[name] = not await asyncio.to_thread(os.listdir, self._root / name)
        return None if self._empty[name] else name

    @contextmanager
    def in_use(self, digest: Digest) -> Iterator[None]:
        """Keep trees and blob of ``digest`` while the block runs, whatever ``collect`` is told."""
        self._uses[digest] += 1
        try:
            yield
        finally:
            self._uses[digest] -= 1
            if not self._uses[digest]:
                del self._uses[digest]

    async def collect(self, keep: Collection[Digest], *, min_age_s: float = 3600.0) -> int:
        """Delete trees and blobs that are neither in ``keep`` nor in use; return how many digests went.

        Younger ones stay: their function may not be written yet. Age is the file system's own.
        """
        old = await asyncio.to_thread(self._find_old, min_age_s)
        gone = 0
        for digest in sorted(old - set(keep)):
            async with self._lock(digest):
                # Asked again under the lock: it may have been stored anew since.
                if self._uses[digest] or digest not in await asyncio.to_thread(self._find_old, min_age_s):
                    continue
                await self._blobs.delete(digest)
                await asyncio.to_thread(self._remove, digest)
                self._empty = {name: empty for name, empty in self._empty.items() if not name.startswith(digest)}
                gone += 1
        return gone

    def _lock(self, digest: str) -> asyncio.Lock:
        return self._locks.setdefault(digest, asyncio.Lock())

    def _open_root(self) -> int:
        self._root.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._root.chmod(0o755)
        lock = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # another process is at work here: what looks left over may be its own
        else:
            for left in self._root.glob(f"{_TEMPORARY}*"):
                left.unlink() if left.is_file() else remove_tree(left)
        fcntl.flock(lock, fcntl.LOCK_SH)
        return lock

    @contextmanager
    def _temporary_file(self) -> Iterator[Path]:
        fd, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._root)
        os.close(fd)
        try:
            yield Path(name)
        finally:
            os.unlink(name)

    async def _spool(
        self, data: bytes | AsyncIterable[bytes], path: Path, limit_bytes: int | None
    ) -> tuple[Digest, int]:
        hasher, size = hashlib.sha256(), 0
        with path.open("wb") as file:

            def write(chunk: bytes) -> None:
                hasher.update(chunk)
                file.write(chunk)

            async for chunk in _as_chunks(data):
                size += len(chunk)
                if limit_bytes is not None and size > limit_bytes:
                    raise RequestTooLarge(f"Zipped size must be smaller than {limit_bytes} bytes")
                await _run_in_thread(lambda _, chunk=chunk: write(chunk))  # type: ignore[misc]
        return Digest(hasher.hexdigest()), size

    async def _build(self, name: str, fill: Callable[[Path, Stop], object]) -> None:
        """Make the tree ``name`` by ``fill``; it appears complete and on disk, or not at all."""

        def build(stop: Stop) -> None:
            tree = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._root))
            try:
                fill(tree, stop)
                tree.chmod(0o755)
                sync_tree(tree)
                stop.check()
                _publish(tree, self._root / name)
            finally:
                remove_tree(tree)

        await _run_in_thread(build)

    def _find_old(self, min_age_s: float) -> set[Digest]:
        """Return the digests that this root knows and that nobody stored or unpacked lately."""
        with self._temporary_file() as probe:
            latest = probe.stat().st_mtime - min_age_s
        newest: dict[Digest, float] = {}
        for path in self._root.iterdir():
            digest = Digest(path.name.removeprefix(_BLOB).partition(".")[0])
            if len(digest) == 64:
                newest[digest] = max(newest.get(digest, 0.0), path.stat().st_mtime)
        return {digest for digest, modified in newest.items() if modified <= latest}

    def _remove(self, digest: Digest) -> None:
        for tree in [self._root / digest, *self._root.glob(f"{digest}.*")]:
            if tree.is_dir():
                # Out of sight in one step, so that a crash leaves no half tree under a trusted name.
                doomed = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self._root))
                tree.rename(doomed / "tree")
                remove_tree(doomed)
        (self._root / f"{_BLOB}{digest}").unlink(missing_ok=True)


def _publish(tree: Path, target: Path) -> None:
    try:
        tree.rename(target)
    except OSError as error:
        # Another process was quicker; its tree has the same content.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _check_zip(path: Path, stop: Stop) -> int:
    """Return the unpacked size, or raise the CallerError that says what is wrong."""
    with path.open("rb") as file:
        try:
            entries = read_entries(file.fileno()) if path.stat().st_size else []
            if not entries:
                raise InvalidParameterValue("Uploaded file must be a non-empty zip")
            unzipped = sum(entry.size_bytes for entry in entries)
            if unzipped >= UNZIPPED_LIMIT_BYTES:
                raise InvalidParameterValue(f"Unzipped size must be smaller than {UNZIPPED_LIMIT_BYTES} bytes")
            check_archive(file.fileno(), entries, stop)
        except BadZip as error:
            raise InvalidParameterValue(
                "Could not unzip uploaded file. Please check your file, then try to upload again."
            ) from error
    return unzipped


def _unpack(path: Path, tree: Path, stop: Stop) -> None:
    with path.open("rb") as file:
        try:
            unpack_archive(file.fileno(), read_entries(file.fileno()), tree, stop)
        except BadZip as error:
            raise HostError(f"a stored package does not unpack: {error}") from error


async def _as_chunks(data: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    async for chunk in data:
        yield chunk


async def _read_chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk


async def _run_in_thread(work: Callable[[Stop], _T]) -> _T:
    """Return what ``work`` returns. If the caller is cancelled, ask ``work`` to stop and wait until it has."""
    stop = Stop()
    future = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.ask()
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError, Stopped, Exception):
                await asyncio.shield(future)
        raise
