"""The launcher's own view of the file system: mounts below one private tmpfs that every kernel user id may enter.

A sandbox's bubblewrap runs under an id that may not pass the 0700 folders above a state directory or an interpreter,
so what it binds is mounted here first, pinned to the directory that was opened beneath its root.
"""

import os
import stat
from typing import Final

from lambent.sandbox.launcher import kernel
from lambent.sandbox.launcher.identities import open_user_namespace

PLACE: Final = "/tmp"  # noqa: S108  in our own mount namespace nobody else sees what is mounted here
TREES: Final = f"{PLACE}/trees"
DISKS: Final = f"{PLACE}/disks"
SKELETON: Final = f"{PLACE}/skeleton"

# Developer guide, "Lambda execution environment": the function's user; recorded from AWS: sbx_user1051, 993:990.
_USERS: Final = """root:x:0:0:root:/root:/sbin/nologin
sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
"""
_GROUP: Final = "root:x:0:\nsbx_user1051:x:990:\nnobody:x:65534:\n"
# Developer guide, "Lambda Telemetry API": the destination's host is sandbox.localdomain.
_HOSTS: Final = "127.0.0.1 localhost localhost.localdomain sandbox.localdomain sandbox\n::1 localhost\n"
_NSSWITCH: Final = "passwd: files\ngroup: files\nhosts: files dns\n"
# AWS's images have this file; there it execs the runtime of the image with the handler as its argument.
_ENTRYPOINT: Final = """#!/bin/sh
if [ $# -ne 1 ]; then
  echo "entrypoint requires the handler name to be the first argument" >&2
  exit 142
fi
export _HANDLER="$1"
exec /var/runtime/bootstrap
"""


class Trees:
    """Read-only directories by root and name; each is mounted once while any program uses it."""

    def __init__(self, roots: dict[str, int], interpreters: dict[str, int], root_kuid: int | None) -> None:
        self._root_kuid = root_kuid
        self._shifts: dict[tuple[int, int], int] = {}
        self._roots = roots
        self._interpreters = interpreters
        self._in_use: dict[tuple[str, str], tuple[str, int]] = {}
        self._made = 0

    def open(self, root: str, name: str, attributes: bytes = kernel.READ_ONLY) -> int:
        """Return a detached read-only mount of a tree."""
        if root == "interpreter" and name in self._interpreters:
            return self._clone(self._interpreters[name], attributes)
        folder = kernel.open_beneath(self._roots[root], name)
        try:
            if not stat.S_ISDIR(os.fstat(folder).st_mode):
                raise OSError(f"{root} tree {name!r} is no directory")
            return self._clone(folder, attributes)
        finally:
            os.close(folder)

    def _clone(self, folder: int, attributes: bytes) -> int:
        tree = kernel.clone_tree(folder, attributes)
        if self._root_kuid is not None:
            # Recorded from AWS: /var/task and /opt belong to root. File systems that cannot shift show `nobody`.
            kernel.shift_owner(tree, self._shift_of(folder, self._root_kuid))
        return tree

    def _shift_of(self, folder: int, root_kuid: int) -> int:
        """A user namespace whose maps turn the folder's owner into the sandbox's root."""
        status = os.fstat(folder)
        owner = (status.st_uid, status.st_gid)
        if owner not in self._shifts:
            maps = [f"{number} {root_kuid} 1" for number in owner]
            self._shifts[owner] = open_user_namespace(None, *maps, is_last=False)
        return self._shifts[owner]

    def take(self, root: str, name: str) -> str:
        """Return a path where the tree stays mounted until as many ``give_back`` as ``take`` were called."""
        key = (root, name)
        if key in self._in_use:
            path, users = self._in_use[key]
            self._in_use[key] = (path, users + 1)
            return path
        self._made += 1
        path = f"{TREES}/{self._made}"
        tree = self.open(root, name)
        try:
            os.mkdir(path, 0o755)
            kernel.attach(tree, path.encode())
        finally:
            os.close(tree)
        self._in_use[key] = (path, 1)
        return path

    def give_back(self, root: str, name: str) -> None:
        """Undo one ``take``."""
        path, users = self._in_use.pop((root, name))
        if users > 1:
            self._in_use[(root, name)] = (path, users - 1)
            return
        kernel.unmount(path, kernel.UMOUNT_DETACH)
        os.rmdir(path)


def open_folder(path: str) -> int:
    """Return an O_PATH descriptor of a directory that the operator named."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def build_world(root_kuid: int | None, resolv_conf: str) -> None:
    """Mount the private tmpfs with the files of our own that sandboxes see. Roots must be open by now."""
    kernel.mount("lambent", PLACE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755,size=16m")
    for folder in (TREES, DISKS, SKELETON, f"{SKELETON}/etc", f"{SKELETON}/task", f"{SKELETON}/opt"):
        os.mkdir(folder, 0o755)
    # glibc remembers for ever which library directories were missing at the first dlopen: these exist from birth.
    os.mkdir(f"{SKELETON}/task/lib", 0o755)
    os.mkdir(f"{SKELETON}/opt/lib", 0o755)
    _write(f"{SKELETON}/lambda-entrypoint.sh", _ENTRYPOINT.encode(), 0o755)
    etc = {"passwd": _USERS, "group": _GROUP, "hosts": _HOSTS, "nsswitch.conf": _NSSWITCH, "resolv.conf": resolv_conf}
    for name, text in etc.items():
        _write(f"{SKELETON}/etc/{name}", text.encode(), 0o644)
    os.symlink("/usr/share/zoneinfo/UTC", f"{SKELETON}/etc/localtime")
    cache = _read("/etc/ld.so.cache")
    if cache is not None:
        _write(f"{SKELETON}/etc/ld.so.cache", cache, 0o644)
    for name in host_etc():
        os.makedirs(f"{SKELETON}/etc/{name}", 0o755)
    if root_kuid is not None:
        for folder, folders, files in os.walk(SKELETON):
            for each in (".", *folders, *files):
                os.chown(f"{folder}/{each}", root_kuid, root_kuid, follow_symlinks=False)


def host_etc() -> list[str]:
    """Public directories of the host's /etc that programs in /usr need."""
    names = ("alternatives", "ssl", "pki/tls", "pki/ca-trust", "crypto-policies")
    return [name for name in names if os.path.isdir(f"/etc/{name}")]


def _write(path: str, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
