"""What this host gives to this user, tried out now: for ``lambent doctor`` and for the start. Nothing is kept."""

import contextlib
import ctypes
import fcntl
import os
import pwd
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambent.sandbox.launcher.bwrap import REMEDY, NoBubblewrap, find_bubblewrap
from lambent.sandbox.launcher.cgroups import find_cgroups
from lambent.sandbox.launcher.disks import file_system_of
from lambent.sandbox.launcher.seccomp import compile_filter
from lambent.sandbox.supervisor import enter_profile

_WANTED_CONTROLLERS: Final = ("memory", "pids", "cpu", "freezer")
_APPARMOR_SWITCH: Final = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_DEBIAN_SWITCH: Final = Path("/proc/sys/kernel/unprivileged_userns_clone")
_CALLS: Final = {"open_tree": 428, "move_mount": 429, "openat2": 437, "mount_setattr": 442}
_ENOSYS, _EPERM, _EFAULT = 38, 1, 14
_LOOP_CTL_GET_FREE: Final = 0x4C82
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_DESCRIPTORS_WANTED: Final = 16_384  # six for each of some two thousand environments, and the server's own
_CONTAINER_OPTIONS: Final = (
    "start Lambent as an ordinary user, with --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    " (and apparmor=unconfined where the host has AppArmor), or with --privileged"
)
# mount(2) of a new proc is refused where parts of the old one are covered, which is what containers do.
_PROC_REMEDY: Final = f"parts of /proc are covered here; in a container: {_CONTAINER_OPTIONS}"
_LIMIT_S: Final = 10.0
# In a child: (user namespace unless root), then a mount and a network namespace.
_NAMESPACES: Final = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for kind in map(int, sys.argv[1:]):
    if libc.unshare(kind):
        sys.exit(os.strerror(ctypes.get_errno()))
"""
_NEWNS, _NEWUSER, _NEWNET = 0x20000, 0x10000000, 0x40000000


@dataclass(frozen=True, slots=True)
class Probe:
    """One guarantee: whether this host gives it, what was seen, and what would help."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def probe_host(disk_dir: Path) -> list[Probe]:
    """Try everything that sandboxes need, as the user who calls. Blocking, well under a second.

    ``disk_dir`` is where sandboxes' /tmp would be kept (its nearest existing parent is looked at).
    """
    probes: list[Callable[[], Probe]] = [
        probe_bubblewrap,
        _probe_user_namespaces,
        _probe_sandbox,
        _probe_ids,
        _probe_cgroups,
        lambda: _probe_disk(disk_dir),
        _probe_calls,
        _probe_network,
        _probe_egress,
        _probe_filter,
        _probe_descriptors,
    ]
    return [probe() for probe in probes]


def probe_required() -> list[Probe]:
    """Try only what no sandbox can do without: for the start, some 50 ms. Those that failed, in order."""
    probes = (probe_bubblewrap, _probe_sandbox, _probe_calls, _probe_network, _probe_filter)
    return [found for probe in probes if not (found := probe()).ok]


def probe_bubblewrap() -> Probe:
    """Return whether there is a bubblewrap that is new enough."""
    try:
        return Probe("bubblewrap", ok=True, detail=find_bubblewrap()[1])
    except NoBubblewrap as error:
        return Probe("bubblewrap", ok=False, detail=str(error), remedy=REMEDY)


def _probe_user_namespaces() -> Probe:
    name = "user namespaces"
    code, words = _run([sys.executable, "-I", "-c", _NAMESPACES, str(_NEWUSER)])
    if code == 0:
        return Probe(name, ok=True, detail="allowed")
    return Probe(name, ok=False, detail=words.strip(), remedy=_namespace_remedy())


def _probe_sandbox() -> Probe:
    """bubblewrap itself, under an ordinary id if we are root, as the launcher calls it."""
    name = "a sandbox"
    try:
        path, _ = find_bubblewrap()
    except NoBubblewrap as error:
        return Probe(name, ok=False, detail=str(error), remedy=REMEDY)
    arguments = [path, "--unshare-all", "--unshare-user", "--disable-userns", "--uid", "993", "--gid", "990"]
    arguments += ["--ro-bind", "/", "/", "--proc", "/proc", "--die-with-parent", "/bin/true"]
    code, words = _run(arguments, user=65_534 if os.geteuid() == 0 else None)
    if code == 0:
        return Probe(name, ok=True, detail="bubblewrap makes one")
    remedy = _PROC_REMEDY if "mount proc" in words else _namespace_remedy()
    return Probe(name, ok=False, detail=words.strip()[-200:], remedy=remedy)


def _namespace_remedy() -> str:
    if _read(_APPARMOR_SWITCH) == "1":
        return (
            "AppArmor restricts user namespaces here: `sudo lambent setup` gives the launcher a profile that may,"
            " or sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if _read(_DEBIAN_SWITCH) == "0":
        return "sysctl kernel.unprivileged_userns_clone=1"
    return f"sysctl user.max_user_namespaces=15000; in a container: {_CONTAINER_OPTIONS}"


def _probe_ids() -> Probe:
    name = "an id for each sandbox"
    if os.geteuid() == 0:
        return Probe(name, ok=True, detail="root takes them from a range of its own")
    missing = [tool for tool in ("newuidmap", "newgidmap") if shutil.which(tool, path="/usr/bin:/bin") is None]
    if missing:
        return Probe(name, ok=False, detail=f"{missing[0]} is not installed", remedy="apt-get install uidmap")
    names = {str(os.getuid())}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(os.getuid()).pw_name)
    for table in ("/etc/subuid", "/etc/subgid"):
        lines = [line.split(":") for line in _read(Path(table)).splitlines()]
        if not any(line[0] in names and len(line) == 3 for line in lines):
            remedy = f"sudo lambent setup --user {sorted(names)[-1]}"
            return Probe(name, ok=False, detail=f"{table} has no range for this user", remedy=remedy)
    return Probe(name, ok=True, detail="from /etc/subuid and /etc/subgid")


def _probe_cgroups() -> Probe:
    name = "cgroups"
    rootless = os.geteuid() != 0
    cgroups = find_cgroups(f"probe-{os.getpid()}", rootless=rootless, family=os.getpid())
    cgroups.remove()
    missing = [controller for controller in _WANTED_CONTROLLERS if controller not in cgroups.controllers]
    if not missing:
        return Probe(name, ok=True, detail=f"v{cgroups.version}: memory, processes, CPU, freezing")
    detail = cgroups.reason or f"v{cgroups.version} without {', '.join(missing)}"
    remedy = "mount the cgroup file system, writable"
    if rootless:
        remedy = "start as root, or on cgroup v2: systemd-run --user --scope -p Delegate=yes lambent start"
    return Probe(name, ok=False, detail=f"no limits on memory, processes, CPU: {detail}", remedy=remedy)


def _probe_disk(disk_dir: Path) -> Probe:
    name = "size limit of /tmp"
    place = disk_dir
    while not place.exists():
        place = place.parent
    kind = file_system_of(str(place))
    if kind in ("tmpfs", "ramfs", "devtmpfs"):
        return Probe(name, ok=False, detail=f"{place} is in memory ({kind})", remedy="choose a directory on a disk")
    if os.geteuid() != 0:
        return Probe(name, ok=False, detail="only root may mount images", remedy="start as root")
    if trouble := _find_loop_trouble():
        remedy = "modprobe loop; in a container, pass /dev/loop-control and loop devices"
        return Probe(name, ok=False, detail=f"/dev/loop-control: {trouble}", remedy=remedy)
    if shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin") is None:
        return Probe(name, ok=False, detail="mkfs.ext4 is not installed", remedy="apt-get install e2fsprogs")
    return Probe(name, ok=True, detail=f"ext4 images on {kind}")


def _find_loop_trouble() -> str:
    """Ask for the number of a free loop device, which takes none."""
    try:
        descriptor = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _LOOP_CTL_GET_FREE)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _probe_calls() -> Probe:
    """Call each with nonsense: EBADF, EINVAL or EFAULT mean that the kernel has it and no filter refuses it."""
    name = "calls that mount code into running sandboxes"
    libc = ctypes.CDLL(None, use_errno=True)
    refused = []
    for call, number in _CALLS.items():
        ctypes.set_errno(0)
        result = libc.syscall(number, -1, None, 0, None, 0)
        error = ctypes.get_errno()
        # Without privileges move_mount says EPERM whoever asks; in the launcher's namespace it has them.
        if result < 0 and (error == _ENOSYS or (error == _EPERM and os.geteuid() == 0)):
            refused.append(call)
    if refused:
        remedy = f"Linux 5.12 or newer; in a container: {_CONTAINER_OPTIONS}"
        return Probe(name, ok=False, detail=f"not granted: {', '.join(refused)}", remedy=remedy)
    return Probe(name, ok=True, detail=", ".join(_CALLS))


def _probe_network() -> Probe:
    name = "network namespaces"
    kinds = [_NEWNS, _NEWNET] if os.geteuid() == 0 else [_NEWUSER, _NEWNS, _NEWNET]
    code, words = _run([sys.executable, "-I", "-c", _NAMESPACES, *map(str, kinds)])
    if code == 0:
        return Probe(name, ok=True, detail="allowed")
    remedy = _namespace_remedy() if os.geteuid() else f"CAP_SYS_ADMIN is missing; in a container: {_CONTAINER_OPTIONS}"
    return Probe(name, ok=False, detail=words.strip(), remedy=remedy)


def _probe_egress() -> Probe:
    """A router, a sandbox's network and a far end for a moment, all of it on this host."""
    name = "functions reach the internet"
    code, words = _run([sys.executable, "-I", str(Path(__file__).parent / "launcher" / "trial.py")])
    if code == 0:
        return Probe(name, ok=True, detail="through a router with a packet filter")
    reason, remedy, *_ = [*words.strip().splitlines(), "", ""]
    return Probe(name, ok=False, detail=reason, remedy=remedy or "see the words of this probe")


def _probe_filter() -> Probe:
    """No filter at all, at no address: EFAULT means that the kernel would have taken one."""
    name = "a system call filter"
    try:
        compile_filter(os.uname().machine)
    except OSError as error:
        return Probe(name, ok=False, detail=str(error), remedy="use a machine that has a table")
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, 0, 0)
    if (error_number := ctypes.get_errno()) != _EFAULT:
        return Probe(name, ok=False, detail=os.strerror(error_number), remedy="a kernel with CONFIG_SECCOMP_FILTER")
    return Probe(name, ok=True, detail=f"for {os.uname().machine}")


def _probe_descriptors() -> Probe:
    name = "enough descriptors"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _DESCRIPTORS_WANTED:
        remedy = "raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower max_environments"
        return Probe(name, ok=False, detail=f"{hard} at most: room for {hard // 8} environments", remedy=remedy)
    return Probe(name, ok=True, detail="unlimited" if hard == resource.RLIM_INFINITY else f"{hard} at most")


def _run(command: list[str], *, user: int | None = None) -> tuple[int, str]:
    groups = None if user is None else ()
    try:
        done = subprocess.run(  # noqa: S603  our own fixed commands
            command,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            cwd="/",
            env={},
            check=False,
            user=user,
            group=user,
            extra_groups=groups,
            preexec_fn=enter_profile,  # as the launcher does
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, str(error)
    return done.returncode, done.stdout + done.stderr


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
