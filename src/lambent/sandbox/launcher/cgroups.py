"""Control groups of v1 or v2 behind one class: memory without swap, processes, CPU, freezing."""

import contextlib
import os
import signal
from typing import Final

from lambent.sandbox.launcher import delegation
from lambent.sandbox.launcher.kernel import read_file, write_file

MIB: Final = 1 << 20
CPU_PERIOD_US: Final = 100_000
LEAST_QUOTA_US: Final = 1_000
_MOUNTINFO: Final = "/proc/self/mountinfo"
_KERNEL_MEMORY: Final = ("kernel_stack", "pagetables", "percpu", "sock", "vmalloc", "slab")
# By version: (name in the protocol, controller, file).
CONTROLS: Final = {
    0: (),
    1: (
        ("freezer.v1", "freezer", "freezer.state"),
        ("memory.stat", "memory", "memory.stat"),
        ("memory.kernel", "memory", "memory.kmem.usage_in_bytes"),
    ),
    2: (("freezer.v2", "freezer", "cgroup.freeze"), ("memory.stat", "memory", "memory.stat")),
}
_CONTROLLERS: Final[tuple[str, ...]] = ("memory", "pids", "cpu", "freezer")


class Cgroup:
    """One sandbox's group. ``folders`` has the group's directory by controller; v2 has the same for all."""

    def __init__(self, version: int, folders: dict[str, str]) -> None:
        self.version = version
        self.folders = folders
        self._peak_bytes = 0

    def entrances(self) -> list[str]:
        """The files to write "0" into, for a process that wants to be in the group."""
        return [f"{folder}/cgroup.procs" for folder in sorted(set(self.folders.values()))]

    def limit_memory(self, mib: int) -> None:
        """Cap memory and swap together."""
        folder = self.folders.get("memory")
        if folder is None:
            return
        if self.version == 2:
            write_file(f"{folder}/memory.max", str(mib * MIB))
            _write_if_there(f"{folder}/memory.swap.max", "0")
            return
        files = [f"{folder}/memory.limit_in_bytes", f"{folder}/memory.memsw.limit_in_bytes"]
        files = [file for file in files if os.path.exists(file)]
        # The kernel keeps limit ≤ memsw at every step: the outer one goes up first and down last.
        growing = mib * MIB > int(read_file(files[0]))
        for file in reversed(files) if growing else files:
            write_file(file, str(mib * MIB))
        if len(files) == 1:
            _write_if_there(f"{folder}/memory.swappiness", "0")

    def limit_processes(self, count: int) -> None:
        """Cap the number of processes and threads."""
        if "pids" in self.folders:
            write_file(f"{self.folders['pids']}/pids.max", str(count))

    def limit_cpu(self, share: float | None) -> None:
        """Cap CPU time at ``share`` vCPU per period; None lifts the cap."""
        folder = self.folders.get("cpu")
        if folder is None:
            return
        quota = None if share is None else max(LEAST_QUOTA_US, round(share * CPU_PERIOD_US))
        if self.version == 2:
            write_file(f"{folder}/cpu.max", f"{'max' if quota is None else quota} {CPU_PERIOD_US}")
        else:
            write_file(f"{folder}/cpu.cfs_period_us", str(CPU_PERIOD_US))
            write_file(f"{folder}/cpu.cfs_quota_us", str(-1 if quota is None else quota))

    def open_controls(self) -> dict[str, int]:
        """Descriptors of the files by which another may freeze the group and read what it holds; those that there are.

        The kernel asks who may write when a file is opened, not when it is written: they act for whoever holds them.
        """
        files = {name: (self.folders.get(controller, ""), file) for name, controller, file in CONTROLS[self.version]}
        opened: dict[str, int] = {}
        for name, (folder, file) in files.items():
            flags = os.O_WRONLY if name.startswith("freezer") else os.O_RDONLY
            with contextlib.suppress(FileNotFoundError):
                opened[name] = os.open(f"{folder}/{file}", flags | os.O_CLOEXEC | os.O_NONBLOCK)
        return opened

    def let_die(self) -> None:
        """Thaw, so that what was killed dies: of a frozen tree neither version lets every process go to its end."""
        if "freezer" in self.folders:
            file, order = ("cgroup.freeze", "0") if self.version == 2 else ("freezer.state", "THAWED")
            with contextlib.suppress(OSError):
                write_file(f"{self.folders['freezer']}/{file}", order)

    def weigh_cpu(self, weight: int) -> None:
        """Give it so much of the processors beside its neighbours, who have 100 each."""
        folder = self.folders.get("cpu")
        if folder is None:
            return
        if self.version == 2:
            write_file(f"{folder}/cpu.weight", str(weight))
        else:
            write_file(f"{folder}/cpu.shares", str(max(2, weight * 1024 // 100)))

    def out_of_memory_kills(self) -> int:
        """How many processes the kernel killed here for memory so far."""
        if "memory" not in self.folders:
            return 0
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _table(f"{self.folders['memory']}/{name}").get("oom_kill", 0)

    def peak_memory_bytes(self) -> int | None:
        """The most anonymous and kernel memory ever seen, transient peaks of living processes included."""
        folder = self.folders.get("memory")
        if folder is None:
            return None
        used = held_bytes(read_file(f"{folder}/memory.stat"))
        ceiling_file = "memory.peak"
        if self.version == 1:
            kernel_file = f"{folder}/memory.kmem.usage_in_bytes"
            used += int(read_file(kernel_file)) if os.path.exists(kernel_file) else 0
            ceiling_file = "memory.max_usage_in_bytes"
        estimate = used + sum(transient_peak_bytes(pid) for pid in self.pids())
        if os.path.exists(f"{folder}/{ceiling_file}"):
            # The kernel's own peak counts page cache too, so it only bounds ours from above.
            estimate = min(estimate, int(read_file(f"{folder}/{ceiling_file}")))
        self._peak_bytes = max(self._peak_bytes, estimate)
        return self._peak_bytes

    def pids(self) -> list[int]:
        """The processes in it."""
        with contextlib.suppress(OSError):
            return [int(line) for line in read_file(self.entrances()[0]).split()]
        return []

    def kill_all(self) -> None:
        """Kill what is in it, frozen or not."""
        if self.version == 2:
            with contextlib.suppress(OSError):  # since Linux 5.14: all at once, whatever they fork
                write_file(f"{self.entrances()[0].removesuffix('procs')}kill", "1")
                self.let_die()
                return
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.let_die()

    def remove(self) -> bool:
        """Remove it; False while a process lives in it."""
        for folder in set(self.folders.values()):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


class Cgroups:
    """The groups of this launcher, below one named for its instance. ``reason`` says why a controller is missing."""

    def __init__(self, version: int, bases: dict[str, str], instance: str, reason: str = "") -> None:
        self.version = version
        self.instance = instance
        self.controllers = frozenset(bases)
        self.reason = reason
        self._parents = {controller: f"{base}/lambent-{instance}" for controller, base in bases.items()}

    def prepare(self) -> None:
        """Make the parent group."""
        for folder in set(self._parents.values()):
            os.makedirs(folder, exist_ok=True)
            if not os.path.exists(f"{folder}/cgroup.procs"):  # the kernel makes it with the group
                raise OSError(f"{folder} is no control group: something covers it")
            if self.version == 2:
                delegation.enable(folder)

    def limit_memory(self, mib: int) -> None:
        """Cap what all groups use together: a function that grows meets this before the host has to swap."""
        Cgroup(self.version, self._parents).limit_memory(mib)

    def make(self, name: str) -> Cgroup | None:
        """Return a new empty group; None where this host has none."""
        if not self._parents:
            return None
        cgroup = Cgroup(self.version, {controller: f"{path}/{name}" for controller, path in self._parents.items()})
        for folder in set(cgroup.folders.values()):
            os.makedirs(folder, exist_ok=True)
        return cgroup

    def left_over(self) -> list[Cgroup]:
        """Groups that a dead launcher of this instance left."""
        names = set()
        for parent in self._parents.values():
            with contextlib.suppress(OSError):
                names |= {entry.name for entry in os.scandir(parent) if entry.is_dir()}
        return [
            Cgroup(self.version, {controller: f"{path}/{name}" for controller, path in self._parents.items()})
            for name in sorted(names)
        ]

    def remove(self) -> None:
        """Remove the parent group; all in it must be gone."""
        for folder in set(self._parents.values()):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def held_bytes(memory_stat: str) -> int:
    """The memory of a group that only its processes' end gives back, from its memory.stat: anonymous, shared, kernel's.

    v1 tells of the kernel's part elsewhere.
    """
    stat = _parse_table(memory_stat)
    if "total_rss" in stat:
        return stat["total_rss"] + stat.get("total_shmem", 0)
    # Before Linux 5.18 the kernel's part has no sum of its own.
    kernel = stat.get("kernel", sum(stat.get(name, 0) for name in _KERNEL_MEMORY))
    return stat.get("anon", 0) + stat.get("shmem", 0) + kernel


def transient_peak_bytes(pid: int) -> int:
    """How much more a process once had resident than it has now."""
    peak_bytes, resident_bytes = status_bytes(pid, "VmHWM", "VmRSS")
    return max(0, peak_bytes - resident_bytes)


def status_bytes(pid: int, *names: str) -> list[int]:
    """Numbers of a process's status at one moment; 0 each where it is gone."""
    try:
        status = read_file(f"/proc/{pid}/status")
        return [int(status.partition(f"{name}:")[2].split(None, 1)[0]) << 10 for name in names]
    except (OSError, IndexError, ValueError):
        return [0] * len(names)


def find_cgroups(instance: str, *, rootless: bool, family: int) -> Cgroups:
    """Return the groups that this process may make here, tried out. ``family``: whom all our processes descend from."""
    _, v1, v2 = _cgroup_mounts()
    own = _own_groups()
    if "memory" in v1:
        bases = {name: _inside(*v1[name], own.get(name, "/")) for name in _CONTROLLERS if name in v1}
        return _try_out(Cgroups(1, bases, instance))
    if v2 is None:
        return Cgroups(0, {}, instance, "no cgroup file system is mounted")
    base, reason = delegation.find_place(v2[0], _inside(*v2, own.get("", "/")), rootless=rootless, family=family)
    if not base:
        return Cgroups(0, {}, instance, reason)
    try:
        enabled, reason = delegation.enable(base)
    except OSError as error:
        return Cgroups(0, {}, instance, f"cgroup v2 is not writable for this user: {error}")
    return _try_out(Cgroups(2, dict.fromkeys((*sorted(enabled), "freezer"), base), instance, reason))


def own_memory_groups() -> tuple[int, list[str]]:
    """The version, and the folders of the memory groups that this process is in, its own first; 0: there is none."""
    _, v1, v2 = _cgroup_mounts()
    own = _own_groups()
    if "memory" in v1:
        version, (mount_point, root), group = 1, v1["memory"], own.get("memory", "/")
    elif v2 is not None:
        version, (mount_point, root), group = 2, v2, own.get("", "/")
    else:
        return 0, []
    folder, folders = _inside(mount_point, root, group), []
    while len(folder) >= len(mount_point):
        folders.append(folder)
        folder = os.path.dirname(folder)
    return version, folders


def _try_out(cgroups: Cgroups) -> Cgroups:
    try:
        cgroups.prepare()
    except OSError as error:
        cgroups.remove()
        reason = f"cgroup v{cgroups.version} is not writable for this user: {error}"
        return Cgroups(0, {}, cgroups.instance, reason)
    return cgroups


def _cgroup_mounts() -> tuple[None, dict[str, tuple[str, str]], tuple[str, str] | None]:
    """(-, {v1 controller: (mount point, root)}, (mount point, root) of v2)."""
    v1: dict[str, tuple[str, str]] = {}
    v2 = None
    for line in read_file(_MOUNTINFO).splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split(" ", 2)
        if kind == "cgroup":
            v1 |= {name: (fields[4], fields[3]) for name in options.split(",") if name in _CONTROLLERS}
        elif kind == "cgroup2":
            v2 = (fields[4], fields[3])
    return None, v1, v2


def _own_groups() -> dict[str, str]:
    own: dict[str, str] = {}
    for line in read_file("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        own |= dict.fromkeys(names.split(","), path)
    return own


def _inside(mount_point: str, root: str, own: str) -> str:
    """The directory of group ``own`` where only what is below ``root`` is mounted."""
    below = own.removeprefix(root.rstrip("/")) if root != "/" else own
    return f"{mount_point}{below}".rstrip("/")


def _table(path: str) -> dict[str, int]:
    return _parse_table(read_file(path))


def _parse_table(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _write_if_there(path: str, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        write_file(path, text)
