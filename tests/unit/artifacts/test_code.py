"""Packages from the door to the tree and back to nothing."""

import asyncio
import base64
import hashlib
import marshal
import os
import struct
import sys
import threading
from pathlib import Path

import pytest

from lambent.artifacts import code as code_module
from lambent.artifacts.code import Artifacts
from lambent.model.errors import HostError, InvalidParameterValue, RequestTooLarge
from lambent.model.interpreters import PythonTarget

pytestmark = pytest.mark.anyio
HERE = PythonTarget(f"{sys.version_info[0]}.{sys.version_info[1]}", Path(sys.executable).resolve())


def left_over(artifacts: Artifacts) -> list[str]:
    return sorted(path.name for path in artifacts._root.iterdir() if path.name != ".lock")


async def test_a_package_is_stored_under_the_digest_that_aws_tells(artifacts, blobs, pack):
    data = pack({"a.py": "x = 1", "d/": (0o40755, "")})
    package = await artifacts.ingest(data)
    assert package.digest == hashlib.sha256(data).hexdigest()
    assert package.sha256_base64 == base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert (package.zip_bytes, package.unzipped_bytes) == (len(data), 5)
    assert blobs.held == {package.digest: data}
    assert b"".join([chunk async for chunk in artifacts.read(package.digest)]) == data


async def test_chunks_make_the_same_package_as_bytes(artifacts, pack):
    data = pack({"a.py": "x = 1" * 1000})

    async def chunks():
        for start in range(0, len(data), 7):
            yield data[start : start + 7]

    assert await artifacts.ingest(chunks()) == await artifacts.ingest(data)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        # Recorded from AWS: test_create_lambda_exceptions, TestLambdaSizeLimits.
        (
            b"this is no archive",
            InvalidParameterValue,
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ),
        (b"", InvalidParameterValue, "Uploaded file must be a non-empty zip"),
        (b"PK\x05\x06" + bytes(18), InvalidParameterValue, "Uploaded file must be a non-empty zip"),
        (bytes(52_428_801), RequestTooLarge, "Zipped size must be smaller than 52428800 bytes"),
    ],
)
async def test_what_is_no_package_is_refused_in_the_words_of_aws(data, error, text, artifacts, blobs):
    with pytest.raises(error) as caught:
        await artifacts.ingest(data)
    assert caught.value.message == text
    assert (blobs.held, left_over(artifacts)) == ({}, [])


async def test_a_bomb_is_refused_by_what_it_declares(artifacts, pack):
    data = pack({str(number): "0" * 1_000_000 for number in range(3)})
    for old in (struct.pack("<L", 1_000_000),):
        data = data.replace(old, struct.pack("<L", 100_000_000))
    with pytest.raises(InvalidParameterValue) as caught:
        await artifacts.ingest(data)
    assert caught.value.message == "Unzipped size must be smaller than 262144000 bytes"


async def test_a_tree_is_the_archive_with_its_modes_times_and_links(artifacts, pack):
    package = await artifacts.ingest(
        pack({"d/": (0o40700, ""), "d/f.sh": (0o100755, "echo"), "secret": (0o100600, "s"), "l": (0o120777, "d/f.sh")})
    )
    tree = artifacts._root / await artifacts.ensure_tree(package.digest)
    found = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    assert found == ["d", "d/f.sh", "l", "secret"]
    assert (tree / "d/f.sh").read_text() == "echo"
    assert [oct((tree / name).stat().st_mode) for name in ("", "d", "d/f.sh", "secret")] == [
        "0o40755", "0o40700", "0o100755", "0o100600",
    ]  # fmt: skip
    assert os.readlink(tree / "l") == "d/f.sh"
    assert {(tree / name).stat().st_mtime for name in ("d", "d/f.sh")} == {1_709_209_858.0}


async def test_concurrent_callers_share_one_unpacking(artifacts, blobs, pack):
    digest = (await artifacts.ingest(pack({"a": "text"}))).digest
    assert set(await asyncio.gather(*(artifacts.ensure_tree(digest) for _ in range(20)))) == {digest}
    assert blobs.reads == 1


async def test_two_processes_at_one_root_agree(artifacts, blobs, pack, monkeypatch):
    digest = (await artifacts.ingest(pack({"a": "text"}))).digest
    other = Artifacts(artifacts._root, blobs)
    await other.open()
    meet = threading.Barrier(2, timeout=10)
    monkeypatch.setattr(code_module, "sync_tree", lambda tree: meet.wait())
    assert await asyncio.gather(artifacts.ensure_tree(digest), other.ensure_tree(digest)) == [digest, digest]
    other.close()
    assert left_over(artifacts) == [f".blob-{digest}", digest]


async def test_cancelling_half_way_leaves_nothing(artifacts, pack, monkeypatch):
    digest = (await artifacts.ingest(pack({"a": "text"}))).digest
    begun, go_on = threading.Event(), threading.Event()

    def hold(tree):
        begun.set()
        assert go_on.wait(10)

    monkeypatch.setattr(code_module, "sync_tree", hold)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(artifacts.ensure_tree(digest))
        assert await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
    assert task.cancelled()
    assert left_over(artifacts) == [f".blob-{digest}"]
    monkeypatch.undo()
    assert await artifacts.ensure_tree(digest) == digest


async def test_what_a_killed_process_left_is_swept_unless_another_works_there(tmp_path, blobs):
    root = tmp_path / "code"
    first = Artifacts(root, blobs)
    await first.open()
    (root / ".tmp-dir" / "sub").mkdir(parents=True)
    (root / ".tmp-dir" / "sub").chmod(0)
    (root / ".tmp-file").touch()
    second = Artifacts(root, blobs)
    await second.open()
    second.close()
    assert left_over(first) == [".tmp-dir", ".tmp-file"]
    first.close()
    await second.open()
    second.close()
    assert left_over(first) == []


async def test_a_stored_package_that_is_broken_is_a_fault_of_the_host(artifacts, blobs):
    blobs.held["0" * 64] = b"junk"
    with pytest.raises(HostError):
        await artifacts.ensure_tree("0" * 64)
    assert left_over(artifacts) == []


async def test_bytecode_lies_outside_the_tree_and_is_what_the_interpreter_takes(artifacts, pack):
    package = await artifacts.ingest(
        pack({"a.py": "import os\nx = 1\n", "pkg/b.py": "y = 2\n", "bad.py": "def", "hidden.py": (0o100600, "z = 3")})
    )
    tree = artifacts._root / await artifacts.ensure_bytecode(package.digest, HERE)
    tag = HERE.cache_tag
    found = sorted(str(path.relative_to(tree)) for path in tree.rglob("*.pyc"))
    assert found == [f"var/task/a.{tag}.pyc", f"var/task/pkg/b.{tag}.pyc"]
    code = marshal.loads((tree / found[0]).read_bytes()[16:])
    assert code.co_filename == "/var/task/a.py"
    names = {path.name for path in (artifacts._root / package.digest).rglob("*")}
    assert names == {"a.py", "pkg", "b.py", "bad.py", "hidden.py"}


async def test_bytecode_is_taken_by_import_and_never_by_running_the_code(artifacts, pack, tmp_path):
    trap = tmp_path / "trap"
    package = await artifacts.ingest(pack({"a.py": f"open({str(trap)!r}, 'w')\nMARK = 'compiled'\n"}))
    out = artifacts._root / await artifacts.ensure_bytecode(package.digest, HERE)
    assert not trap.exists()
    program = (
        "import sys, importlib.util as u; sys.pycache_prefix = sys.argv[1]\n"
        "cached = u.cache_from_source('/var/task/a.py')\n"
        "import importlib._bootstrap_external as e\n"
        "data = open(cached, 'rb').read(); assert e._classify_pyc(data, 'a', {}) == 1\n"
        "space = {}; exec(e._compile_bytecode(data[16:], 'a'), space); print(space['MARK'])"
    )
    process = await asyncio.create_subprocess_exec(
        HERE.executable, "-I", "-c", program, str(out), stdout=asyncio.subprocess.PIPE
    )
    stdout, _ = await process.communicate()
    assert stdout == b"compiled\n"


async def test_a_package_without_python_has_no_bytecode_tree(artifacts, pack):
    package = await artifacts.ingest(pack({"index.js": "1"}))
    assert await artifacts.ensure_bytecode(package.digest, HERE) is None
    assert await artifacts.ensure_bytecode(package.digest, HERE) is None


async def test_a_source_that_kills_or_hangs_the_compiler_costs_only_bytecode(artifacts, pack, monkeypatch):
    monkeypatch.setattr("lambent.artifacts.bytecode.COMPILE_LIMIT_S", 5.0)
    package = await artifacts.ingest(pack({"a.py": "x = 1", "b.py": "(" * 90_000, "c.py": "-" * 1_000_000 + "1"}))
    tree = await artifacts.ensure_bytecode(package.digest, HERE)
    assert (artifacts._root / tree / f"var/task/a.{HERE.cache_tag}.pyc").exists()


async def test_collect_takes_what_nothing_refers_to_and_never_what_is_in_use(artifacts, blobs, pack):
    kept, used, young, gone = [(await artifacts.ingest(pack({"a.py": f"x = {number}"}))).digest for number in range(4)]
    for digest in (kept, used, young, gone):
        await artifacts.ensure_tree(digest)
        await artifacts.ensure_bytecode(digest, HERE)
    assert await artifacts.collect([]) == 0
    os.utime(artifacts._root / f".blob-{young}", (4_000_000_000, 4_000_000_000))
    with artifacts.in_use(used):
        assert await artifacts.collect([kept], min_age_s=0) == 1
    assert set(blobs.held) == {kept, used, young}
    assert not any(gone in name for name in left_over(artifacts))
    assert await artifacts.collect([kept], min_age_s=0) == 1
    assert set(blobs.held) == {kept, young}


async def test_every_mode_can_be_removed_again(artifacts, pack):
    package = await artifacts.ingest(pack({"d/": (0o40500, ""), "d/e/": (0o40100, ""), "d/e/f": (0o100400, "x")}))
    await artifacts.ensure_tree(package.digest)
    assert await artifacts.collect([], min_age_s=0) == 1
    assert left_over(artifacts) == []
