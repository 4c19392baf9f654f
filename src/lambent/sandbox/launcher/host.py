"""What all sandboxes of one launcher share, made once at its start; and the sweep of what a dead predecessor left."""

import contextlib
import fcntl
import os
import signal
import time
import zlib
from dataclasses import dataclass
from typing import Final

from lambent.sandbox.launcher import kernel, packet_filter
from lambent.sandbox.launcher.bwrap import find_bubblewrap
from lambent.sandbox.launcher.cgroups import Cgroup, find_cgroups
from lambent.sandbox.launcher.disks import Disks, detach_left_over, find_disks
from lambent.sandbox.launcher.identities import enter_user_namespace, root_kuids
from lambent.sandbox.launcher.networks import Networks
from lambent.sandbox.launcher.router import RESOLV_CONF, EgressSettings, Router, open_router
from lambent.sandbox.launcher.seccomp import compile_filter
from lambent.sandbox.launcher.uplinks import NoEgress, remove_left_over
from lambent.sandbox.launcher.world import PLACE, Trees, build_world, open_folder

POOLED_NETWORKS: Final = 8
POOLED_DISKS: Final = 4
DEFENCES: Final = frozenset(
    {"kuid", "capabilities", "userns", "pid", "ipc", "uts", "cgroup", "network", "host-files"}
    | {"read-only-code", "read-only-dev", "read-only-root", "seccomp"}
    | packet_filter.DEFENCES
)
# Limits that a test lifts, to what no test reaches.
LIFTED: Final[dict[str, float | None]] = {
    "memory_mib": 1 << 19,
    "processes": 1 << 19,
    "open_files": 1 << 17,
    "cpu_share": None,
    "tmp_mib": 4096,
}
_STORAGE: Final = f"{PLACE}/storage"
_SWEEP_LIMIT_S: Final = 5.0
_LOCK_LIMIT_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The launcher's arguments: trusted, from whoever started it."""

    roots: dict[str, str]
    interpreters: dict[str, str]
    run_dir: str
    disk_dir: str
    weakened: frozenset[str]
    egress: EgressSettings
    memory_limit_mib: int | None = None


class Host:
    """The parts, and which guarantees they cannot give."""

    def __init__(self, settings: Settings) -> None:
        self.weakened = settings.weakened
        self.lifted = {name: limit for name, limit in LIFTED.items() if name in settings.weakened}
        self.system_call_filter = compile_filter(os.uname().machine)
        self.bubblewrap = find_bubblewrap()[0]
        self.bubblewrap_status = os.stat(self.bubblewrap)
        number = zlib.crc32(os.fsencode(os.path.realpath(settings.run_dir)))
        self.instance = f"{number:08x}"
        self.title_prefix = f"lambent-sandbox-{self.instance}-"
        self._lock = _lock(settings.run_dir)
        self._disk_folder = f"{os.path.realpath(settings.disk_dir)}/lambent-tmp-{self.instance}"
        os.makedirs(self._disk_folder, mode=0o700, exist_ok=True)
        # By descriptor: what we mount later hides the paths below PLACE.
        self._disk_parent = os.open(settings.disk_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.rootless = os.geteuid() != 0
        self._kuid_reason = ""
        if self.rootless:
            self.kuids, self._kuid_reason = enter_user_namespace(number)
        else:
            self.kuids = root_kuids(number)
        self.cgroups = find_cgroups(self.instance, rootless=self.rootless, family=os.getppid())
        self._sweep()
        if settings.memory_limit_mib is not None:
            self.cgroups.limit_memory(settings.memory_limit_mib)
        self._no_egress = NoEgress("sandboxes have no network: it is turned off", 'egress = "internet"')
        self._router = self._open_router(settings.egress)
        self._enter(settings)

    def _open_router(self, egress: EgressSettings) -> Router | None:
        """In the host's network, before we leave it."""
        if not egress.wanted:
            return None
        try:
            return open_router(
                egress,
                instance=self.instance,
                title=self.title_prefix,
                rootless=self.rootless,
                kuid=self.kuids.take(),
                weakened=self.weakened,
            )
        except NoEgress as error:
            self._no_egress = error
            return None

    def _enter(self, settings: Settings) -> None:
        """Leave the host's mounts and network for our own."""
        kernel.unshare(kernel.NEWNS if "network" in self.weakened else kernel.NEWNS | kernel.NEWNET)
        kernel.make_mounts_private()
        self.home = kernel.namespace("mnt")
        self.home_network = kernel.namespace("net")
        roots = {name: open_folder(path) for name, path in settings.roots.items()}
        interpreters = {name: open_folder(path) for name, path in settings.interpreters.items()}
        storage = open_folder(self._disk_folder)
        os.chdir("/")
        build_world(self.kuids.root, RESOLV_CONF if self._router else "")
        self._mount_storage(storage)
        self.trees = Trees(roots, interpreters, self.kuids.root)
        self.networks = Networks(ready=POOLED_NETWORKS, router=self._router)
        self.disks: Disks = find_disks(_STORAGE, ready=POOLED_DISKS, owner=self.kuids.root)

    def wants_refill(self) -> bool:
        """Whether a pool is not full."""
        return self.networks.is_short() or self.disks.is_short()

    def refill_once(self) -> None:
        """Make one thing that a pool lacks."""
        if not self.networks.refill_once():
            self.disks.refill_once()

    def missing(self) -> list[dict[str, str]]:
        """What this host cannot enforce: setting, reason, remedy."""
        found = []
        for controller, setting in (("memory", "memory_mib"), ("cpu", "cpu_share"), ("freezer", "freeze")):
            if controller not in self.cgroups.controllers:
                reason = self.cgroups.reason or f"the {controller} controller is missing"
                found.append({"setting": setting, "reason": reason, "remedy": _cgroup_remedy(self.rootless)})
        if "pids" not in self.cgroups.controllers and self.kuids.shared:
            reason = "neither a pids controller nor user ids of their own"
            found.append({"setting": "processes", "reason": reason, "remedy": _cgroup_remedy(self.rootless)})
        if not self.disks.images:
            remedy = "start Lambent as root" if self.rootless else "allow loop devices and install e2fsprogs"
            reason = f"sandboxes get a directory without a size limit: {self.disks.reason}"
            found.append({"setting": "tmp_mib", "reason": reason, "remedy": remedy})
        if self.kuids.shared:
            remedy = "apt-get install uidmap, and give the user a range in /etc/subuid and /etc/subgid"
            reason = f"all sandboxes share the user's own id: {self._kuid_reason}"
            found.append({"setting": "user_id", "reason": reason, "remedy": remedy})
        if self._router is None:
            found.append({"setting": "egress", "reason": str(self._no_egress), "remedy": self._no_egress.remedy})
        elif self._router.unbounded:
            remedy = "modprobe sch_tbf, or egress_mbit_per_s = 0"
            found.append({"setting": "egress_mbit_per_s", "reason": self._router.unbounded, "remedy": remedy})
        return found

    def close(self) -> None:
        """Remove what no sandbox holds."""
        with contextlib.suppress(OSError):
            self.disks.close()
        self.networks.close()
        if self._router is not None:
            with contextlib.suppress(OSError):
                self._router.close()
        self.cgroups.remove()
        with contextlib.suppress(OSError):
            kernel.unmount(_STORAGE, kernel.UMOUNT_DETACH)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.basename(self._disk_folder), dir_fd=self._disk_parent)
        os.close(self._disk_parent)
        os.close(self._lock)

    def _mount_storage(self, folder: int) -> None:
        os.mkdir(_STORAGE, 0o755)
        tree = kernel.clone_tree(folder, kernel.WRITABLE)
        kernel.attach(tree, _STORAGE.encode())
        os.close(tree)
        os.close(folder)

    def _sweep(self) -> None:
        """End what a dead launcher of this run directory left. Its mounts and loop devices end with its processes."""
        deadline = time.monotonic() + _SWEEP_LIMIT_S
        while True:
            left = [cgroup for cgroup in self.cgroups.left_over() if not _remove(cgroup)]
            pids = _processes_titled(self.title_prefix)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left and not pids:
                break
            if time.monotonic() > deadline:
                raise OSError(f"what a dead launcher left cannot be removed: processes {pids}, {len(left)} cgroups")
            time.sleep(0.005)
        detach_left_over(self._disk_folder)
        if not self.rootless:
            remove_left_over(self.instance)


def _remove(cgroup: Cgroup) -> bool:
    cgroup.kill_all()
    return cgroup.remove()


def _cgroup_remedy(rootless: bool) -> str:
    if rootless:
        return (
            "start Lambent as root, or on cgroup v2 under systemd-run --user --scope -p Delegate=yes"
            " (and Delegate=cpu memory pids in a drop-in of user@.service)"
        )
    return "mount the cgroup file system with this controller, writable"


def _lock(run_dir: str) -> int:
    """Wait until the predecessor is dead: the kernel gives its lock back."""
    path = f"{run_dir}/launcher.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + _LOCK_LIMIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(f"another launcher uses {run_dir}") from None
            time.sleep(0.005)


def _processes_titled(prefix: str) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if kernel.read_file(f"/proc/{name}/cmdline").startswith(prefix) and not _is_dead(name):
                    found.append(int(name))
    return found


def _is_dead(pid: str) -> bool:
    return kernel.read_file(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] in ("Z", "X")
