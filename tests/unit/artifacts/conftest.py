"""Packages and a root to keep them in."""

import hashlib
import io
import zipfile
from collections.abc import AsyncIterable, AsyncIterator

import pytest

from lambent.artifacts.code import Artifacts


class HeldBlobs:
    """Blobs in memory, with the contract of the store."""

    def __init__(self):
        self.held = {}
        self.reads = 0

    async def put(self, chunks: AsyncIterable[bytes], *, expect: str | None = None) -> str:
        content = b"".join([chunk async for chunk in chunks])
        digest = hashlib.sha256(content).hexdigest()
        assert expect in (None, digest)
        self.held[digest] = content
        return digest

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        self.reads += 1
        content = self.held[digest]
        for start in range(0, len(content), 4096):
            yield content[start : start + 4096]

    async def delete(self, digest: str) -> None:
        self.held.pop(digest, None)


@pytest.fixture
def blobs():
    return HeldBlobs()


@pytest.fixture
async def artifacts(tmp_path, blobs):
    found = Artifacts(tmp_path / "code", blobs)
    await found.open()
    yield found
    found.close()


@pytest.fixture
def pack():
    """Return a function that packs ``{name: text or (mode, text)}`` as a ZIP made on Unix."""

    def pack(files, compression=zipfile.ZIP_DEFLATED):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", compression) as out:
            for name, content in files.items():
                mode, text = content if isinstance(content, tuple) else (0o100644, content)
                member = zipfile.ZipInfo(name, (2024, 2, 29, 12, 30, 58))
                member.external_attr = mode << 16
                member.create_system = 3
                member.compress_type = compression
                out.writestr(member, text)
        return archive.getvalue()

    return pack
