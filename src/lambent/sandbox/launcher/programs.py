"""One program: a bubblewrap process and the tree below it, from the fork to the last death.

monitor (bubblewrap, host's pid namespace) → init (pid 1 of the sandbox's namespace) → the program proper.
"""

import contextlib
import fcntl
import json
import os
import resource
import signal
from dataclasses import dataclass
from typing import Final

from lambent.sandbox.launcher import kernel, seccomp
from lambent.sandbox.launcher.world import SKELETON, host_etc

TREE_PLACES: Final = {
    "code": ("code", "/var/task"),
    "layers": ("code", "/opt"),
    "runtime": ("runtime", "/var/runtime"),
    "interpreter": ("interpreter", "/var/lang"),
    "bytecode": ("code", "/var/lambent/pyc"),
}
# Recorded from AWS: user and group of the function.
UID, GID = 993, 990
LOG_FD: Final = 62  # Developer guide, "Building a custom runtime": _LAMBDA_TELEMETRY_LOG_FD is 62
_STATUS_FD, _ARGUMENTS_FD, _USER_NAMESPACE_FD, _FILTER_FD = 10, 11, 12, 13
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_MASKED_FILES: Final = ("kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "kallsyms")
_MASKED_FOLDERS: Final = ("acpi", "asound", "scsi")
_NO_LIMIT: Final = resource.RLIM_INFINITY
_UNLIMITED: Final = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_RSS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """What a child of the launcher needs to become a program."""

    bubblewrap: str
    title: str
    arguments: list[str]
    argv: list[str]
    system_call_filter: bytes
    network: int
    user_namespace: int | None
    entrances: list[str]
    kuid: int | None
    open_files: int
    processes: int
    output: int
    log: int | None
    control: int | None


class Program:
    """A started tree. ``number`` is the server's; it tells this program of a sandbox from the one before."""

    def __init__(self, number: int, monitor: int, status: int) -> None:
        self.number = number
        self.monitor = monitor
        self.status = status
        self.pid = 0
        self.has_started = False
        self.was_killed = False
        self.monitor_is_dead = False
        self.init = 0
        self.init_fd = -1
        self.exit_code: int | None = None
        self.failure = ""
        self.trees: list[tuple[str, str]] = []
        self.kills_before = 0
        self._program_fd = -1
        self._text = b""

    def read_status(self) -> bool:
        """Take in what bubblewrap says; False when it will say no more."""
        try:
            part = os.read(self.status, 4096)
        except BlockingIOError:
            return True
        if not part:
            return False
        self._text += part
        decoder = json.JSONDecoder()
        text = self._text.decode("utf-8", "replace")
        while text := text.lstrip():
            try:
                document, end = decoder.raw_decode(text)
            except ValueError:
                break  # it comes in several writes
            text = text[end:]
            self._take_in(document)
        self._text = text.encode()
        return True

    def look_for_start(self, bubblewrap: os.stat_result) -> bool:
        """Whether the program proper runs by now: the mounts are done and its executable is no longer bubblewrap's."""
        if self.has_started or not self.find_program():
            return self.has_started
        try:
            executable = os.stat(f"/proc/{self.pid}/exe")
        except OSError:
            return False
        self.has_started = (executable.st_dev, executable.st_ino) != (bubblewrap.st_dev, bubblewrap.st_ino)
        return self.has_started

    def find_program(self) -> bool:
        """Whether init has forked the program proper, whose exit status only a descriptor opened in time can tell."""
        if self._program_fd < 0 and self.init:
            with contextlib.suppress(OSError):
                children = kernel.read_file(f"/proc/{self.init}/task/{self.init}/children").split()
                if children and _is_first_of_namespace(children[0]):
                    self._program_fd = os.pidfd_open(int(children[0]))
                    self.pid = int(children[0])
        return self._program_fd >= 0

    def send_signal(self, number: int) -> None:
        """Send a signal to the program proper."""
        if self._program_fd < 0:
            raise OSError("the program has not started")
        signal.pidfd_send_signal(self._program_fd, number)

    def kill(self) -> None:
        """Kill the whole tree: with its init the kernel ends the namespace."""
        self.was_killed = True
        if self.init_fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.init_fd, signal.SIGKILL)
        elif not self.monitor_is_dead:
            os.kill(self.monitor, signal.SIGKILL)

    def is_over(self) -> bool:
        """Whether every process of the tree is dead (init ends after all others) and bubblewrap is reaped."""
        return self.monitor_is_dead and self.init_fd < 0

    def init_ended(self) -> None:
        """Note that the namespace is empty."""
        os.close(self.init_fd)
        self.init_fd = -1

    def result(self) -> tuple[int | None, int | None]:
        """(code, signal) of the program proper."""
        wait_status = kernel.find_exit_status(self._program_fd) if self._program_fd >= 0 else None
        if wait_status is not None:
            code = os.waitstatus_to_exitcode(wait_status)
            return (code, None) if code >= 0 else (None, -code)
        if self.exit_code is None:
            return None, int(signal.SIGKILL)
        # bubblewrap says 128 + n for signal n, as shells do; before Linux 6.15 nobody can tell it from exit(128 + n).
        if 128 < self.exit_code <= 128 + 64:
            return None, self.exit_code - 128
        return self.exit_code, None

    def close(self) -> None:
        """Close what is open of it."""
        for descriptor in (self.status, self._program_fd, self.init_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self.status = self._program_fd = self.init_fd = -1

    def _take_in(self, document: dict[str, object]) -> None:
        if isinstance(pid := document.get("child-pid"), int):
            with contextlib.suppress(ProcessLookupError):
                self.init_fd = os.pidfd_open(pid)
                self.init = pid
        if isinstance(code := document.get("exit-code"), int):
            self.exit_code = code
        if isinstance(failure := document.get("failure"), str):
            self.failure = failure


def _is_first_of_namespace(pid: str) -> bool:
    """Whether init forked it first: an orphan of a program that is dead already may be its only child by now."""
    _, _, numbers = kernel.read_file(f"/proc/{pid}/status").partition("NSpid:")
    return numbers.partition("\n")[0].split()[-1:] == ["2"]


def spawn(plan: Spawn, number: int) -> Program:
    """Fork and become bubblewrap. Returns at once; the program's own start is seen later."""
    status, status_end = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(status, False)
    arguments = os.memfd_create("arguments", os.MFD_CLOEXEC)
    os.write(arguments, b"".join(os.fsencode(argument) + b"\0" for argument in plan.arguments))
    os.lseek(arguments, 0, os.SEEK_SET)
    system_call_filter = seccomp.open_filter(plan.system_call_filter)
    launcher = os.getpid()
    monitor = os.fork()
    if not monitor:
        _become(plan, launcher, {_STATUS_FD: status_end, _ARGUMENTS_FD: arguments, _FILTER_FD: system_call_filter})
    for descriptor in (status_end, arguments, system_call_filter):
        os.close(descriptor)
    return Program(number, monitor, status)


def _become(plan: Spawn, launcher: int, own: dict[int, int]) -> None:
    """The child's way to bubblewrap; never returns."""
    try:
        for entrance in plan.entrances:
            kernel.write_file(entrance, "0")
        kernel.enter(plan.network, kernel.NEWNET)
        _place_descriptors(plan, own)
        _set_limits(plan)
        # bubblewrap maps its one id to its caller's: root that calls it is root on the host, whatever --uid says.
        if plan.kuid is not None:
            os.setgroups([])
            os.setresgid(plan.kuid, plan.kuid, plan.kuid)
            os.setresuid(plan.kuid, plan.kuid, plan.kuid)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
        if os.getppid() != launcher:
            os._exit(70)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        # The environment goes by --args: as bubblewrap's own, LD_PRELOAD and its kin would act outside of the sandbox.
        command = [plan.title, "--args", str(_ARGUMENTS_FD), "--", *plan.argv]
        os.execve(plan.bubblewrap, command, {})  # noqa: S606  no shell is wanted
    except BaseException as error:  # noqa: BLE001  nothing may return into the launcher's loop
        with contextlib.suppress(OSError):
            os.write(_STATUS_FD, json.dumps({"failure": f"{error}"[:500]}).encode())
    finally:
        os._exit(70)


def _place_descriptors(plan: Spawn, own: dict[int, int]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    wanted = {
        0: null if plan.control is None else plan.control,
        1: plan.output,
        2: plan.output,
        **own,
    }
    if plan.user_namespace is not None:
        wanted[_USER_NAMESPACE_FD] = plan.user_namespace
    if plan.log is not None:
        wanted[LOG_FD] = plan.log
    # First out of the way of each other's numbers; these copies have the close-on-exec flag.
    high = {number: _copy_above(descriptor, 128) for number, descriptor in wanted.items()}
    for number, descriptor in high.items():
        os.dup2(descriptor, number, inheritable=True)
    ordered = sorted(wanted)
    for number, following in zip(ordered, [*ordered[1:], 1 << 20], strict=True):
        os.closerange(number + 1, following)


def _copy_above(descriptor: int, least: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)


def _set_limits(plan: Spawn) -> None:
    # Recorded from AWS (RLIMIT_*): (soft, hard). Processes: "Lambda quotas", 1,024 of each environment.
    limits = {
        resource.RLIMIT_NOFILE: (plan.open_files, plan.open_files),
        resource.RLIMIT_MEMLOCK: (65_536, 65_536),
        resource.RLIMIT_STACK: (8_388_608, _NO_LIMIT),
        resource.RLIMIT_CORE: (10_737_418_240, 10_737_418_240),
        **dict.fromkeys(_UNLIMITED, (_NO_LIMIT, _NO_LIMIT)),
    }
    if plan.kuid is not None:
        # The kernel counts per user: without an id of its own the sandbox would pay for its neighbours.
        limits[resource.RLIMIT_NPROC] = (plan.processes, plan.processes)
    for number, (soft, hard) in limits.items():
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError):
            ceiling = resource.getrlimit(number)[1]
            resource.setrlimit(number, (_least(soft, ceiling), _least(hard, ceiling)))


def _least(wanted: int, ceiling: int) -> int:
    if ceiling == _NO_LIMIT:
        return wanted
    return ceiling if wanted == _NO_LIMIT else min(wanted, ceiling)


def bubblewrap_arguments(
    trees: dict[str, str], disk: str, environ: dict[str, str], *, owns_namespace: bool, weakened: frozenset[str]
) -> list[str]:
    """Return bubblewrap's options. ``trees``: paths by place; ``weakened``: defences that a test turns off.

    ``owns_namespace``: the launcher made the user namespace; else bubblewrap makes one, with its single id.
    """
    arguments = [
        "--die-with-parent",
        "--new-session",
        "--unshare-pid",
        "--json-status-fd",
        str(_STATUS_FD),
    ]
    if owns_namespace:
        # bubblewrap leaves --userns open for the program, but closes --block-fd, which cannot block on a namespace.
        arguments += ["--userns", str(_USER_NAMESPACE_FD), "--block-fd", str(_USER_NAMESPACE_FD)]
    else:
        arguments += ["--unshare-user"]
    arguments += ["--uid", str(UID), "--gid", str(GID)]
    arguments += [f"--unshare-{kind}" for kind in ("ipc", "uts", "cgroup") if kind not in weakened]
    if "userns" not in weakened and "capabilities" not in weakened:
        arguments += ["--assert-userns-disabled"] if owns_namespace else ["--disable-userns"]
    # Without the option nothing reads the descriptor, and the program would inherit it: only tests do so.
    arguments += [] if "seccomp" in weakened else seccomp.bubblewrap_arguments(_FILTER_FD)
    arguments += ["--cap-add", "ALL"] if "capabilities" in weakened else ["--cap-drop", "ALL"]
    if "uts" not in weakened:
        arguments += ["--hostname", "169.254.100.1"]
    arguments += ["--clearenv"]
    for name, value in environ.items():
        arguments += ["--setenv", name, value]
    arguments += ["--ro-bind", "/", "/host"] if "host-files" in weakened else []
    arguments += [*_host_usr(), *_device_arguments(weakened), *_proc_arguments(weakened)]
    arguments += ["--ro-bind", f"{SKELETON}/etc", "/etc"]
    for name in host_etc():
        arguments += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
    arguments += ["--ro-bind", f"{SKELETON}/lambda-entrypoint.sh", "/lambda-entrypoint.sh"]
    arguments += ["--dir", "/var/runtime", "--dir", "/var/lang", "--dir", "/var/lambent/pyc"]
    places = {"/var/task": f"{SKELETON}/task", "/opt": f"{SKELETON}/opt", **trees}
    bind = "--bind" if "read-only-code" in weakened else "--ro-bind"
    for place, source in places.items():
        arguments += [bind, source, place]
    arguments += ["--bind", disk, "/tmp"]  # noqa: S108
    arguments += [] if "read-only-root" in weakened else ["--remount-ro", "/"]
    return [*arguments, "--chdir", "/var/task"]


def _host_usr() -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{name}"):
            arguments += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            arguments += ["--ro-bind", f"/{name}", f"/{name}"]
    return arguments


def _device_arguments(weakened: frozenset[str]) -> list[str]:
    if "read-only-dev" in weakened:
        return ["--dev", "/dev"]
    # bubblewrap's own --dev is a writable tmpfs with /dev/shm: memory outside of every limit of /tmp.
    arguments = ["--tmpfs", "/dev"]
    for name in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        arguments += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
    return [*arguments, "--symlink", "/proc/self/fd", "/dev/fd", "--remount-ro", "/dev"]


def _proc_arguments(weakened: frozenset[str]) -> list[str]:
    if "pid" in weakened:
        return ["--ro-bind", "/proc", "/proc"]
    arguments = ["--proc", "/proc"]
    for name in _MASKED_FILES:
        if os.path.exists(f"/proc/{name}"):
            arguments += ["--dev-bind", "/dev/null", f"/proc/{name}"]
    for name in _MASKED_FOLDERS:
        if os.path.isdir(f"/proc/{name}"):
            arguments += ["--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
    return arguments
