"""Guarantees B1 to B3 of blobs."""

import asyncio
import hashlib
import os

import pytest

from lambent.store.contract import Corrupt, Missing

pytestmark = pytest.mark.anyio


async def chunks(*parts):
    for part in parts:
        await asyncio.sleep(0)
        yield part


async def read(blobs, digest):
    return b"".join([piece async for piece in blobs.read(digest)])


@pytest.mark.parametrize("parts", [(), (b"",), (b"a", b"b"), (b"x" * 700_000, b"y" * 300_001, b"z")])
async def test_the_digest_is_the_contents_and_it_is_there_after_a_restart(place, parts):
    digest = await place.first.blobs.put(chunks(*parts))
    assert digest == hashlib.sha256(b"".join(parts)).hexdigest()
    await place.restart()
    assert await read(place.second.blobs, digest) == b"".join(parts)


async def test_put_twice_is_once_and_delete_is_idempotent(place):
    digests = await asyncio.gather(*(client.blobs.put(chunks(b"x")) for client in [place.first, place.second] * 5))
    assert len(set(digests)) == 1
    await place.first.blobs.delete(digests[0])
    await place.second.blobs.delete(digests[0])
    with pytest.raises(Missing):
        await read(place.first.blobs, digests[0])


async def test_an_upload_that_is_not_what_was_announced_leaves_nothing(blobs):
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(Corrupt):
        await blobs.put(chunks(b"content"), expect=other)
    for digest in (other, hashlib.sha256(b"content").hexdigest()):
        with pytest.raises(Missing):
            await read(blobs, digest)
    assert await blobs.put(chunks(b"content"), expect=hashlib.sha256(b"content").hexdigest())


async def test_an_upload_that_breaks_off_is_never_visible(place, tmp_path):
    async def breaking():
        yield b"x" * 600_000
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await place.first.blobs.put(breaking())
    started, hang = asyncio.Event(), asyncio.Event()

    async def hanging():
        yield b"y" * 600_000
        started.set()
        await hang.wait()

    upload = asyncio.ensure_future(place.first.blobs.put(hanging()))
    await started.wait()
    for body in (b"x" * 600_000, b"y" * 600_000):
        with pytest.raises(Missing):
            await read(place.second.blobs, hashlib.sha256(body).hexdigest())
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    await place.restart()  # ends the threads that clean up
    assert [path for path in tmp_path.glob("state/blobs/**/*") if path.is_file()] == []


@pytest.mark.parametrize("digest", ["", "x", "../../../etc/passwd", "0" * 63, "A" * 64, "0" * 64])
async def test_what_is_no_digest_of_anything_is_missing(blobs, digest):
    with pytest.raises(Missing):
        await read(blobs, digest)
    await blobs.delete(digest)


async def test_damaged_content_is_corrupt_and_never_bytes(place, tmp_path):
    body = b"x" * 3_000_000
    digest = await place.first.blobs.put(chunks(body))
    for path in tmp_path.glob(f"state/blobs/*/{digest}"):
        assert path.stat().st_mode & 0o777 == 0o600
        with path.open("r+b") as file:
            file.seek(2_999_999)
            file.write(b"y")
        with pytest.raises(Corrupt):
            await anext(place.second.blobs.read(digest))  # no piece before the error
        await place.first.blobs.put(chunks(body))  # heals it
    assert await read(place.second.blobs, digest) == body


async def test_a_start_removes_uploads_of_the_dead_and_leaves_those_of_the_living(place, tmp_path):
    started, go = asyncio.Event(), asyncio.Event()

    async def slow():
        yield b"z" * 300_000
        started.set()
        await go.wait()

    if place.is_durable:
        (tmp_path / "state/blobs/tmp/dead").write_bytes(b"left")
        upload = asyncio.ensure_future(place.first.blobs.put(slow()))
        await started.wait()
        other = type(place)(place.path, place.clock)
        await other.open()
        names = os.listdir(tmp_path / "state/blobs/tmp")
        await other.close()
        assert "dead" not in names
        assert len(names) == 1
        go.set()
        assert await read(place.second.blobs, await upload) == b"z" * 300_000
