"""Who a sandbox is to the host: one kernel user id each, and the user namespace that gives an ordinary user a range."""

import collections
import os
import pwd
import socket
from typing import Final

from lambent.sandbox.launcher.kernel import NEWUSER, namespace, unshare, write_file

# Above every range that useradd or systemd gives out (systemd, "Users, Groups, UIDs and GIDs"), 2,000 slots of ids.
ROOT_FIRST: Final = 1_900_000_000
SLOT: Final = 65_536
SLOTS: Final = 2_000
_NEWIDMAP_FOLDERS: Final = ("/usr/bin", "/bin", "/usr/local/bin")


class Kuids:
    """Hands out kernel user ids, the longest unused first. ``shared``: there is only the caller's own.

    ``root``: the id that sandboxes see as root, which owns what they find and which no process ever has; or None.
    """

    def __init__(self, ids: range) -> None:
        self.shared = not ids
        self.root: int | None = None
        self._unused = collections.deque(ids)

    def take(self) -> int | None:
        """Return an id that no living sandbox has; None when all share one."""
        if self.shared:
            return None
        if not self._unused:
            raise OSError("every kernel user id of the range is in use")
        return self._unused.popleft()

    def give_back(self, kuid: int | None) -> None:
        """Say that nothing of this id is left."""
        if kuid is not None:
            self._unused.append(kuid)


def open_user_namespace(creator: int | None, uid_map: str, gid_map: str, *, is_last: bool) -> int:
    """Return a new user namespace with these maps. Root only.

    ``creator``: the kernel user id that has power over it (None: ours). ``is_last``: none may be made below it.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if not child:
            ours.close()  # or the child would wait for an end of file that its own copy keeps away
            _hold_user_namespace(creator, theirs, is_last=is_last)
        theirs.close()
        try:
            _require(ours.recv(1) == b"1")
            write_file(f"/proc/{child}/gid_map", gid_map)
            write_file(f"/proc/{child}/uid_map", uid_map)
            ours.send(b"2")
            _require(ours.recv(1) == b"3")
            return namespace("user", child)
        finally:
            ours.close()
            os.waitpid(child, 0)


def _hold_user_namespace(creator: int | None, channel: socket.socket, *, is_last: bool) -> None:
    """The child of ``open_user_namespace``: its first and only inhabitant; never returns."""
    try:
        if creator is not None:
            os.setgroups([])
            os.setresgid(creator, creator, creator)
            os.setresuid(creator, creator, creator)
        unshare(NEWUSER)
        channel.send(b"1")
        _require(channel.recv(1) == b"2")
        if is_last:
            write_file("/proc/sys/user/max_user_namespaces", "0")
        channel.send(b"3")
        channel.recv(1)
    finally:
        os._exit(0)


def _require(held: bool) -> None:
    if not held:
        raise OSError("a user namespace could not be made")


def root_kuids(instance: int) -> Kuids:
    """Return the range of root's launcher; ``instance`` keeps two of them on one host apart."""
    first = ROOT_FIRST + instance % SLOTS * SLOT
    kuids = Kuids(range(first + 1, first + SLOT))
    kuids.root = first
    return kuids


def enter_user_namespace(instance: int) -> tuple[Kuids, str]:
    """Become root of a user namespace of our own. Returns its ids, and why there are none, if so."""
    user, group = os.getuid(), os.getgid()
    count, reason = _find_range()
    if not count:
        unshare(NEWUSER)
        write_file("/proc/self/setgroups", "deny")
        write_file("/proc/self/uid_map", f"0 {user} 1")
        write_file("/proc/self/gid_map", f"0 {group} 1")
        return Kuids(range(0)), reason
    _unshare_with_range(count)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # A start of its own for each instance: two launchers of one user rarely meet on an id.
    start = 1 + instance % count
    ids = [*range(start, count + 1), *range(1, start)]
    kuids = Kuids(range(1, count + 1))
    kuids._unused = collections.deque(ids)
    return kuids, ""


def _unshare_with_range(count: int) -> None:
    """``newuidmap`` must be called from outside: a helper that stays there does it."""
    go, gate = os.pipe()
    target = os.getpid()
    helper = os.fork()
    if not helper:
        try:
            os.close(gate)
            os.read(go, 1)
            tables = (("newuidmap", os.getuid(), "/etc/subuid"), ("newgidmap", os.getgid(), "/etc/subgid"))
            for tool, own, table in tables:
                first, _ = _range_in(table)
                arguments = [tool, str(target), "0", str(own), "1", "1", str(first), str(count)]
                if os.spawnve(os.P_WAIT, _find_tool(tool), arguments, {}):  # noqa: S606  two fixed programs
                    os._exit(1)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(go)
    unshare(NEWUSER)
    os.close(gate)
    if os.waitpid(helper, 0)[1]:
        raise OSError("newuidmap or newgidmap refused the range of /etc/subuid and /etc/subgid")


def _find_range() -> tuple[int, str]:
    """How many subordinate ids there are, or why none."""
    if not (_find_tool("newuidmap") and _find_tool("newgidmap")):
        return 0, "newuidmap and newgidmap are not installed"
    try:
        return min(_range_in("/etc/subuid")[1], _range_in("/etc/subgid")[1]), ""
    except LookupError as error:
        return 0, str(error)


def _find_tool(name: str) -> str:
    return next((path for folder in _NEWIDMAP_FOLDERS if os.access(path := f"{folder}/{name}", os.X_OK)), "")


def _range_in(table: str) -> tuple[int, int]:
    names = {str(os.getuid())}
    try:
        names.add(pwd.getpwuid(os.getuid()).pw_name)
        with open(table) as file:
            lines = [line.strip().split(":") for line in file]
    except (KeyError, OSError):
        lines = []
    for line in lines:
        if len(line) == 3 and line[0] in names:
            return int(line[1]), int(line[2])
    raise LookupError(f"{table} has no range for this user")
