"""Blobs as files named by their SHA-256: ``<first two digits>/<digest>`` below one folder."""

import asyncio
import fcntl
import hashlib
import os
import re
import threading
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import structlog

from lambent.store.contract import Corrupt, Missing, StoreError, Unavailable
from lambent.store.files import sync_folder

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_PIECE_BYTES: Final = 256 * 1024
_THREADS: Final = 4


class FileBlobs:
    """``Blobs`` in a folder. An upload is invisible until content, name and folder are synced."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._uploads = folder, folder / "tmp"
        self._threads = ThreadPoolExecutor(_THREADS, "lambent-blobs")
        for made in (folder, self._uploads):
            made.mkdir(mode=0o700, exist_ok=True)
        _sweep(self._uploads)
        sync_folder(folder)

    async def put(self, chunks: AsyncIterable[bytes], *, expect: str | None = None) -> str:
        """Return the digest once content and name are durable."""
        upload = await self._run(_Upload, self._uploads / uuid.uuid4().hex)
        try:
            waiting, waiting_bytes = list[bytes](), 0
            async for chunk in chunks:
                waiting.append(chunk)
                waiting_bytes += len(chunk)
                if waiting_bytes >= _PIECE_BYTES:
                    await self._run(upload.write, b"".join(waiting))
                    waiting, waiting_bytes = [], 0
            return await self._run(upload.finish, b"".join(waiting), self._folder, expect)
        finally:
            self._discard(upload)

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        """Yield the content in pieces, verified before the first."""
        if not _DIGEST.fullmatch(digest):
            raise Missing(f"not a digest: {digest[:80]!r}")
        descriptor = await self._run(_open_verified, self._path(digest), digest)
        try:
            offset = 0
            while piece := await self._run(os.pread, descriptor, _PIECE_BYTES, offset):
                yield piece
                offset += len(piece)
        finally:
            os.close(descriptor)

    async def delete(self, digest: str) -> None:
        """Remove the content if it is there."""
        if _DIGEST.fullmatch(digest):
            await self._run(self._path(digest).unlink, missing_ok=True)

    def close(self) -> None:
        """End the threads; blocks while one works."""
        self._threads.shutdown(wait=True)

    def _discard(self, upload: "_Upload") -> None:
        """Remove what an upload left, not awaited: a cancelled caller goes on at once."""
        try:
            self._threads.submit(upload.close)
        except RuntimeError:  # closed meanwhile
            upload.close()

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
        except StoreError:
            raise
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"blobs: {error}") from error


class _Upload:
    """A file in the making, in whatever thread is free; the lock keeps a late ``close`` out of a running write."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock, self._hash = path, threading.Lock(), hashlib.sha256()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # so that no other process's sweep takes it for a leftover

    def write(self, piece: bytes) -> None:
        """Append."""
        with self._lock:
            self._hash.update(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def finish(self, piece: bytes, folder: Path, expect: str | None) -> str:
        """Append the last piece, make all durable, and give it its name."""
        self.write(piece)
        with self._lock:
            digest = self._hash.hexdigest()
            if expect is not None and digest != expect:
                raise Corrupt(f"the upload is {digest}, announced was {expect}")
            os.fsync(self._descriptor)
            target = folder / digest[:2]
            if not target.is_dir():
                target.mkdir(mode=0o700, exist_ok=True)
                sync_folder(folder)
            self._path.rename(target / digest)  # over an older one too: should that be damaged, it is whole again
            sync_folder(target)
            return digest

    def close(self) -> None:
        """End; what was not finished is gone."""
        with self._lock:
            os.close(self._descriptor)
            self._path.unlink(missing_ok=True)


def _open_verified(path: Path, digest: str) -> int:
    """Return a descriptor of content that was just read whole and has this digest."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Missing(f"there is no blob {digest}") from None
    try:
        found, offset = hashlib.sha256(), 0
        while piece := os.pread(descriptor, 4 * _PIECE_BYTES, offset):
            found.update(piece)
            offset += len(piece)
        if found.hexdigest() != digest:
            log.error("blob_corrupt", digest=digest, found=found.hexdigest())
            raise Corrupt(f"the content of blob {digest} is {found.hexdigest()}")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _sweep(uploads: Path) -> None:
    """Remove what uploads of dead processes left."""
    for path in uploads.iterdir():
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            path.unlink(missing_ok=True)
