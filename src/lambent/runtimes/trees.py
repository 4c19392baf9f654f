"""Directories that appear complete or not at all, named by what went into them, readable by everyone. Blocking."""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lambent.model.ids import TreeName


def name_tree(prefix: str, *inputs: str | bytes) -> TreeName:
    """Return a name that differs whenever one of ``inputs`` does."""
    hasher = hashlib.sha256()
    for each in inputs:
        data = each.encode() if isinstance(each, str) else each
        hasher.update(len(data).to_bytes(8, "big") + data)
    return TreeName(f"{prefix}-{hasher.hexdigest()[:20]}")


def ensure_tree(root: Path, name: TreeName, fill: Callable[[Path], None]) -> Path:
    """Return the tree ``name`` beneath ``root``; ``fill`` makes it in an empty directory if it is not there.

    One process fills at a time, others wait for it. A kill leaves at most an unnamed directory, removed by the next.
    """
    tree = root / name
    if tree.is_dir():
        return tree
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _exclusive(root / f".{name}.lock"):
        if tree.is_dir():
            return tree
        for left in root.glob(f".{name}.tmp*"):
            shutil.rmtree(left)
        draft = Path(tempfile.mkdtemp(prefix=f".{name}.tmp", dir=root))
        try:
            fill(draft)
            _open_to_all(draft)
            _sync(draft)
            draft.rename(tree)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return tree


def sweep(root: Path) -> None:
    """Remove what installers left that outlived whoever started them; trees under construction stay."""
    for draft in root.glob(".*.tmp*"):
        name = draft.name[: draft.name.rindex(".tmp")]
        with contextlib.suppress(BlockingIOError), _exclusive(root / f"{name}.lock", fcntl.LOCK_NB):
            shutil.rmtree(draft, ignore_errors=True)


def copy_files(sources: Iterable[tuple[Path, Path]]) -> None:
    """Copy files, links as links, with times and modes; directories on the way are made."""
    for source, target in sources:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)


@contextmanager
def _exclusive(path: Path, flags: int = 0) -> Iterator[None]:
    # The file stays: removing it would let two processes hold two locks of one name.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(fd)


def _open_to_all(root: Path) -> None:
    """Let everyone read what the owner may read, and nobody but him write: installers follow the caller's umask."""
    for folder, folders, names in os.walk(root):
        os.chmod(folder, 0o755)  # noqa: S103
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                os.chmod(path, 0o755 if mode & 0o100 else 0o644)


def _sync(root: Path) -> None:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs", str(root))
    finally:
        os.close(fd)
