"""Where this process may make groups of cgroup v2, and with which controllers, tried out."""

import contextlib
import errno
import os
from typing import Final

from lambent.sandbox.launcher.kernel import read_file, write_file

# Freezing and killing belong to every group of v2, whatever controllers it was given.
CONTROLLERS: Final = ("memory", "pids", "cpu")
LEAF: Final = "lambent-host"
_ROUNDS: Final = 100


def find_place(mount_point: str, own_folder: str, *, rootless: bool, family: int) -> tuple[str, str]:
    """The group to make ours in, or "", and why there is none.

    What was delegated to us is taken first. Root takes the topmost group otherwise. ``family`` is the process that all
    of ours descend from.
    """
    # A predecessor of this launcher moved all of us to the leaf: what was delegated is above.
    folder = os.path.dirname(own_folder) if os.path.basename(own_folder) == LEAF else own_folder
    if _is_delegated(folder) or (rootless and _is_own(folder) and _holds_only(folder, family)):
        # Before version 251 systemd marked it for root alone: a group of the user's that holds only us is as good.
        return folder, ""
    if not rootless:
        return mount_point, ""
    return "", f"the cgroup v2 {folder} is not delegated to this user"


def enable(folder: str) -> tuple[frozenset[str], str]:
    """Give the controllers to the groups below. Returns which those have now, and why the others are missing."""
    offered = set(read_file(f"{folder}/cgroup.controllers").split())
    missing = [name for name in CONTROLLERS if name not in offered]
    for name in CONTROLLERS:
        if name in offered:
            _enable(folder, name)
    reason = f"{folder} is not given the controllers {', '.join(missing)}" if missing else ""
    return frozenset(set(CONTROLLERS) & offered), reason


def _enable(folder: str, controller: str) -> None:
    for _ in range(_ROUNDS):
        try:
            write_file(f"{folder}/cgroup.subtree_control", f"+{controller}")
            return
        except OSError as error:
            # Linux, "Control Group v2", no internal process constraint: a group other than the topmost has either
            # processes or controllers for those below. Ours go to a leaf; another may be forked meanwhile.
            if error.errno != errno.EBUSY:
                raise
            _vacate(folder)
    raise OSError(errno.EBUSY, f"processes of others are in {folder}")


def _vacate(folder: str) -> None:
    leaf = f"{folder}/{LEAF}"
    os.makedirs(leaf, exist_ok=True)
    for pid in read_file(f"{folder}/cgroup.procs").split():
        with contextlib.suppress(ProcessLookupError):
            write_file(f"{leaf}/cgroup.procs", pid)


def _is_delegated(folder: str) -> bool:
    # systemd, "Control Group APIs and Delegation": the attribute marks what Delegate=yes gave away.
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


def _is_own(folder: str) -> bool:
    with contextlib.suppress(OSError):
        files = (folder, f"{folder}/cgroup.procs", f"{folder}/cgroup.subtree_control")
        return all(os.stat(file).st_uid == os.geteuid() for file in files)
    return False


def _holds_only(folder: str, family: int) -> bool:
    """Whether nobody else is in it: no shell, and no terminal, is ours to move."""
    with contextlib.suppress(OSError):
        return all(_descends(int(pid), family) for pid in read_file(f"{folder}/cgroup.procs").split())
    return False


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        pid = int(read_file(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    return pid == ancestor
