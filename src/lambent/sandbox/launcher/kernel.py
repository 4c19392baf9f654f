"""The Linux calls that the launcher stands on, by ctypes alone, each bound once when this module is read.

Between two ``setns`` calls no look-up may wander into files that a tenant owns: only names bound here run there.
"""

import ctypes
import fcntl
import os
import struct
from typing import Final

NEWNS: Final = 0x00020000
NEWUSER: Final = 0x10000000
NEWNET: Final = 0x40000000
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_PRIVATE_REC: Final = 0x44000
UMOUNT_DETACH: Final = 2
PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36

# The same numbers on every architecture.
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_OPENAT2: Final = 437
_MOUNT_SETATTR: Final = 442
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOUNT_ATTR_IDMAP: Final = 0x100000
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_AT_FDCWD: Final = -100
# struct open_how: RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_BENEATH: Final = struct.pack("3Q", os.O_PATH | os.O_CLOEXEC, 0, 8 | 4 | 2)
# struct mount_attr: attributes to set, to clear, propagation, user namespace
READ_ONLY: Final = struct.pack("4Q", 1 | 2 | 4, 0, 0, 0)  # RDONLY | NOSUID | NODEV
WRITABLE: Final = struct.pack("4Q", 2 | 4, 0, 0, 0)  # NOSUID | NODEV

_PIDFD_GET_INFO: Final = 0xC040FF0B
_PIDFD_INFO_EXIT: Final = 8

_libc: Final = ctypes.CDLL(None, use_errno=True)
_syscall, _setns, _get_errno = _libc.syscall, _libc.setns, ctypes.get_errno


def must(result: int, what: str) -> int:
    """Return ``result``, or raise the OSError that errno names."""
    if result < 0:
        number = _get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(kinds: int) -> None:
    """Leave the namespaces of these kinds for new ones."""
    must(_libc.unshare(kinds), "unshare")


def prctl(option: int, value: int) -> None:
    """Call prctl(2) with one argument."""
    must(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def namespace(kind: str, pid: int | str = "self") -> int:
    """Return a descriptor of a namespace of a process."""
    return os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def enter(descriptor: int, kind: int) -> None:
    """Join the namespace that ``descriptor`` stands for."""
    must(_setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Call mount(2)."""
    encoded = (os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    must(_libc.mount(*encoded), f"mount on {target}")


def make_mounts_private() -> None:
    """Cut every mount of this namespace off from where it was copied."""
    must(_libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_PRIVATE_REC), None), "private mounts")


def unmount(path: str, flags: int = 0) -> None:
    """Call umount2(2)."""
    must(_libc.umount2(os.fsencode(path), ctypes.c_int(flags)), f"umount {path}")


def open_beneath(folder: int, name: str) -> int:
    """Return an O_PATH descriptor of what lies in ``folder``, whatever ``name`` says: no ``..``, no link, no root."""
    return must(_syscall(_OPENAT2, folder, os.fsencode(name), _BENEATH, len(_BENEATH)), f"openat2 {name!r}")


def shift_owner(tree: int, user_namespace: int) -> bool:
    """Show the files of a detached tree under other owners (an id-mapped mount); False where that is impossible."""
    attributes = struct.pack("4Q", _MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    how = ctypes.c_uint(_AT_EMPTY_PATH | _AT_RECURSIVE)
    return int(_syscall(_MOUNT_SETATTR, tree, b"", how, attributes, len(attributes))) == 0


def clone_tree(folder: int, attributes: bytes = READ_ONLY) -> int:
    """Return a detached copy of the mount tree at ``folder`` with these attributes; it ends with its descriptor."""
    flags = ctypes.c_uint(_AT_EMPTY_PATH | _AT_RECURSIVE | _OPEN_TREE_CLONE | os.O_CLOEXEC)
    copy = must(_syscall(_OPEN_TREE, folder, b"", flags), "open_tree")
    try:
        how = ctypes.c_uint(_AT_EMPTY_PATH | _AT_RECURSIVE)
        must(_syscall(_MOUNT_SETATTR, copy, b"", how, attributes, len(attributes)), "mount_setattr")
    except OSError:
        os.close(copy)
        raise
    return copy


def attach(tree: int, target: bytes) -> None:
    """Mount a detached tree on ``target``."""
    must(_syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH), "move_mount")


def attach_in(home: int, there: int, tree: int, target: bytes) -> None:
    """Mount a detached tree on ``target`` of the mount namespace ``there``; the caller stays in ``home``."""
    must(_setns(there, NEWNS), "setns mount")
    # From here to the next setns() every path is the tenant's: two bound calls, no Python file access, no look-up.
    moved = _syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH)
    number = _get_errno()
    if _setns(home, NEWNS) < 0:
        os._exit(70)
    if moved < 0:
        raise OSError(number, f"move_mount: {os.strerror(number)}")


def find_exit_status(pidfd: int) -> int | None:
    """Return the wait status of a process that ended, though another reaped it; None before Linux 6.15."""
    info = bytearray(struct.pack("Q56x", _PIDFD_INFO_EXIT))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    (mask,) = struct.unpack_from("Q", info)
    return int(struct.unpack_from("i", info, 60)[0]) if mask & _PIDFD_INFO_EXIT else None


def write_file(path: str, text: str) -> None:
    """Write a kernel file by one call, so that its refusal is heard."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read_file(path: str) -> str:
    """Return a kernel file's text."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts).decode("utf-8", "surrogateescape")
    finally:
        os.close(descriptor)
