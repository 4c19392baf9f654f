"""Compiles the Python files of an unpacked tree with the interpreter that will run them, as data: no code is executed.

The result lies outside the tree the function sees: ``<out>/var/task/pkg/module.cpython-312.pyc`` stands for
``/var/task/pkg/module.py``, the layout of ``sys.pycache_prefix``.
"""

import contextlib
import os
import stat
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from lambent.artifacts.unpack import Stop
from lambent.model.interpreters import PythonTarget

COMPILE_LIMIT_S: Final = 120.0
_MAX_SOURCE_BYTES: Final = 8 * 1024 * 1024
_MAX_FILES: Final = 50_000

# Runs in the target interpreter, isolated and without site. It gives up every right before the first source comes,
# opens no file, and answers each source with length and bytes of a .pyc (length 0: does not compile).
# Unchecked hash: the tree is immutable and named by its content, so no import needs to compare times.
_COMPILER: Final = """
import ctypes, importlib.util, marshal, os, resource, struct, sys, warnings
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
warnings.simplefilter("ignore")
asked, answers = sys.stdin.buffer, sys.stdout.buffer
while True:
    head = asked.read(8)
    if len(head) < 8:
        break
    name_bytes, source_bytes = struct.unpack("<II", head)
    name, source = asked.read(name_bytes).decode("utf-8", "surrogateescape"), asked.read(source_bytes)
    try:
        code = compile(source, name, "exec", dont_inherit=True)
        mark = importlib.util.MAGIC_NUMBER + struct.pack("<I", 1) + importlib.util.source_hash(source)
        answer = mark + marshal.dumps(code)
    except Exception:
        answer = b""
    answers.write(struct.pack("<I", len(answer)) + answer)
    answers.flush()
"""


def compile_tree(root: Path, out: Path, target: PythonTarget, stop: Stop, *, inside: str = "/var/task") -> int:
    """Write bytecode for every readable ``.py`` under ``root`` into ``out``; return how many files were compiled.

    A file that does not compile is left out, as are those that come after a crash of the compiler or its time limit:
    they are compiled at import. ``co_filename`` is the path that the function sees.
    """
    names = list(_find_sources(os.fsencode(root)))[:_MAX_FILES]
    if not names:
        return 0
    with _start_compiler(target) as process:
        watchdog = threading.Timer(COMPILE_LIMIT_S, process.kill)
        watchdog.start()
        asked, answers = process.stdin, process.stdout
        feeder = threading.Thread(target=_feed, args=(asked, root, inside, names))
        feeder.start()
        try:
            return _collect(answers, names, out / inside.lstrip("/"), target.cache_tag, stop)
        finally:
            watchdog.cancel()
            process.kill()
            feeder.join()


def _start_compiler(target: PythonTarget) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - the interpreter is one of the host's, the archive is only data to it
        [str(target.executable), "-I", "-S", "-B", "-c", _COMPILER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": str(target.executable.parent.parent / "lib")},
        start_new_session=True,
    )


def _find_sources(root: bytes) -> Iterator[bytes]:
    """Yield relative names of regular ``.py`` files that every user may read: others fail at import, as on AWS."""
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            found = sorted(os.scandir(os.path.join(root, folder)), key=lambda entry: entry.name)
        except PermissionError:
            continue
        for entry in found:
            status = entry.stat(follow_symlinks=False)
            relative = os.path.join(folder, entry.name)
            if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o005 == 0o005:
                pending.append(relative)
            elif entry.name.endswith(b".py") and _is_open_to_all(status):
                yield relative


def _is_open_to_all(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o004) and status.st_size <= _MAX_SOURCE_BYTES


def _feed(asked: IO[bytes] | None, root: Path, inside: str, names: list[bytes]) -> None:
    if asked is None:
        return
    with contextlib.suppress(BrokenPipeError, ValueError), asked:  # the compiler died, or its reader gave up
        for name in names:
            source = Path(os.fsdecode(os.path.join(os.fsencode(root), name))).read_bytes()
            shown = os.path.join(inside.encode(), name)
            asked.write(struct.pack("<II", len(shown), len(source)) + shown + source)
            asked.flush()


def _collect(answers: IO[bytes] | None, names: list[bytes], out: Path, tag: str, stop: Stop) -> int:
    count = 0
    base = os.fsencode(out)
    for name in names:
        stop.check()
        head = answers.read(4) if answers else b""
        if len(head) < 4:
            break
        length = int.from_bytes(head, "little")
        bytecode = answers.read(length) if answers else b""
        if len(bytecode) < length:
            break
        if not bytecode:
            continue
        path = os.path.join(base, name[: -len(b"py")] + tag.encode() + b".pyc")
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        with open(path, "wb") as file:
            file.write(bytecode)
        os.chmod(path, 0o644)
        count += 1
    return count
