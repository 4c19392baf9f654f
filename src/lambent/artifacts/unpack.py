"""Unpacks a checked archive into a new directory. Blocking; runs in a thread and stops when asked to."""

import ctypes
import os
import shutil
import stat
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lambent.artifacts.zip_format import BadZip, Entry, Kind, read_content

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINK_STEPS: Final = 40  # as the kernel


class Stopped(Exception):
    """The caller of a thread went away."""


class Stop:
    """Tells a thread that nobody waits for its result any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """Make the next ``check`` in the thread raise."""
        self._event.set()

    def check(self) -> None:
        """Raise Stopped if somebody asked."""
        if self._event.is_set():
            raise Stopped


def check_archive(fd: int, entries: Sequence[Entry], stop: Stop) -> None:
    """Raise BadZip unless every member unpacks to what it declares and every link stays inside. Writes nothing."""
    links = {}
    for entry in entries:
        content = bytearray()
        for chunk in read_content(fd, entry):
            stop.check()
            if entry.kind is Kind.LINK:
                content += chunk
        if entry.kind is Kind.LINK:
            links[entry.parts] = _check_link_text(bytes(content))
    _require_links_inside(links)


def unpack_archive(fd: int, entries: Sequence[Entry], root: Path, stop: Stop) -> None:
    """Write the members into the empty directory ``root``. Raises BadZip; the caller removes what is half done.

    Only real directories exist until all files are written, so no path can lead through a link.
    """
    links: dict[tuple[bytes, ...], bytes] = {}
    base = os.fsencode(root)
    made: set[tuple[bytes, ...]] = {()}
    for entry in entries:
        stop.check()
        _make_directories(base, entry.parts if entry.kind is Kind.DIRECTORY else entry.parts[:-1], made)
        if entry.kind is Kind.FILE:
            _write_file(fd, entry, b"/".join((base, *entry.parts)), stop)
        elif entry.kind is Kind.LINK:
            links[entry.parts] = _check_link_text(b"".join(read_content(fd, entry)))
    _require_links_inside(links)
    for parts, target in links.items():
        os.symlink(target, b"/".join((base, *parts)))
    _set_times(base, entries)


def sync_tree(root: Path) -> None:
    """Return when everything written beneath ``root`` is on disk. Syncs its file system in one call."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # One syncfs: an fsync a file costs seconds for a package of thousands.
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs", str(root))
    finally:
        os.close(fd)


def remove_tree(root: Path) -> None:
    """Remove a directory whatever its modes are; no error if it is gone."""

    def open_up(function: object, path: str, error: object) -> None:
        parent = os.path.dirname(path)
        os.chmod(parent, stat.S_IRWXU)
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, stat.S_IRWXU)
            shutil.rmtree(path)
        else:
            os.unlink(path)

    if root.exists():
        shutil.rmtree(root, onerror=open_up)


def _make_directories(base: bytes, parts: tuple[bytes, ...], made: set[tuple[bytes, ...]]) -> None:
    for depth in range(1, len(parts) + 1):
        if parts[:depth] not in made:
            os.mkdir(b"/".join((base, *parts[:depth])), 0o755)
            made.add(parts[:depth])


def _write_file(fd: int, entry: Entry, path: bytes, stop: Stop) -> None:
    target = os.open(path, _NEW_FILE, 0o600)
    try:
        for chunk in read_content(fd, entry):
            stop.check()
            view = memoryview(chunk)
            while view:
                view = view[os.write(target, view) :]
        os.fchmod(target, entry.mode)
        os.utime(target, (entry.modified_s, entry.modified_s))
    finally:
        os.close(target)


def _set_times(base: bytes, entries: Sequence[Entry]) -> None:
    # Deepest first: writing into a directory changes its time, and its mode may forbid entering it.
    directories = [entry for entry in entries if entry.kind is Kind.DIRECTORY]
    for entry in sorted(directories, key=lambda entry: len(entry.parts), reverse=True):
        path = b"/".join((base, *entry.parts))
        os.utime(path, (entry.modified_s, entry.modified_s))
        os.chmod(path, entry.mode)


def _check_link_text(target: bytes) -> bytes:
    if not target or b"\0" in target or target.startswith(b"/"):
        raise BadZip("a link leads out")
    return target


def _require_links_inside(links: Mapping[tuple[bytes, ...], bytes]) -> None:
    """Refuse a link that leaves the root, also by way of other links. Links to nothing and rings are harmless."""
    for place in links:
        here = list(place[:-1])
        todo = links[place].split(b"/")[::-1]
        steps = 1
        while todo and steps <= _MAX_LINK_STEPS:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if not here:
                    raise BadZip("a link leads out")
                here.pop()
            elif (onward := links.get((*here, part))) is not None:
                steps += 1
                todo.extend(onward.split(b"/")[::-1])
            else:
                here.append(part)
