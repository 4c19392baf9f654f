"""Lambent installed where only root can read: its files are shown to the server's own user, and nothing else is.

In a mount namespace of supervisor, launcher and server, an empty directory covers each private one, and in it only what
is needed appears, at its old path. It ends with these processes.
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambent.cli.client import CommandFailed

CLONE_NEWNS: Final = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1, 2, 4, 32, 4096, 16384, 1 << 19
READ_AND_ENTER: Final = 0o005


@dataclass(frozen=True, slots=True)
class Shown:
    """A directory to show below the private directory ``cover``."""

    path: Path
    cover: Path
    is_writable: bool


def find_private(readable: Sequence[Path], writable: Sequence[Path]) -> Sequence[Shown]:
    """Return which of the directories others cannot reach, each before those in it.

    CommandFailed where one is closed itself: what is above it can be covered, what is in it must be as it is.
    """
    found: dict[Path, Shown] = {}
    for path, is_writable in [*((each, False) for each in readable), *((each, True) for each in writable)]:
        for place in {path.absolute(), path.resolve()}:
            if (cover := _closed_ancestor(place)) is None:
                continue
            if not is_writable and place.stat().st_mode & READ_AND_ENTER != READ_AND_ENTER:
                raise CommandFailed(f"only root can read {place}; `chmod -R go+rX {place}`")
            found[place] = Shown(place, cover, is_writable)
    return [shown for path, shown in sorted(found.items()) if shown.is_writable or not found.keys() & {*path.parents}]


def own_directories() -> Sequence[Path]:
    """Return the directories that Lambent itself runs from: interpreter, packages, sources."""
    package = Path(__file__).resolve().parents[1]
    if not package.joinpath("__init__.py").stat().st_mode & 0o004:
        raise CommandFailed(f"only root can read {package}; `chmod -R go+rX {package}`")
    candidates = [sys.prefix, sys.base_prefix, str(package.parent), *sys.path]
    home = Path.cwd()  # first on the path of `python -m`, and not needed
    return [path for each in candidates if each and (path := Path(each)).is_dir() and path.absolute() != home]


def show(private: Sequence[Shown]) -> None:
    """Enter a mount namespace of our own in which ``private`` can be reached by all. For a single-threaded process."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str | None, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
        texts = [None if text is None else os.fsencode(text) for text in (source, str(target), kind)]
        if libc.mount(*texts, ctypes.c_ulong(flags), None if options is None else options.encode()):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(target))

    if libc.unshare(CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    mount(None, Path("/"), None, MS_REC | MS_SLAVE)
    opened = [(shown, _hold(shown.path)) for shown in private]
    for cover in dict.fromkeys(shown.cover for shown in private):
        mount("lambent", cover, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")
    for shown, descriptor in opened:
        # One may lie in another that is shown already.
        shown.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", shown.path, None, MS_BIND | MS_REC)
        if not shown.is_writable:
            mount(None, shown.path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID)
        os.close(descriptor)


def _hold(folder: Path) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)


def _closed_ancestor(path: Path) -> Path | None:
    for place in _from_the_root(path.parent):
        if place.stat().st_mode & READ_AND_ENTER != READ_AND_ENTER:
            return place
    return None


def _from_the_root(path: Path) -> Iterator[Path]:
    yield from reversed((path, *path.parents))
