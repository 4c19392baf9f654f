"""The driver named ``process``: UNSAFE. Programs are plain children of the server with all that its user may do.

For hosts where nothing better is possible and the code is the operator's own. It must be asked for by name.
"""

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from lambent.model.errors import HostError, Refused
from lambent.model.ids import SandboxId, TreeName
from lambent.sandbox.driver import (
    Exit,
    Limits,
    Program,
    Refusal,
    RunningProgram,
    Sandbox,
    SandboxSpec,
    Trees,
    Usage,
)

LOG_FD: Final = 62
BACKLOG: Final = 128
_REMEDY: Final = "use the bubblewrap driver"
NOT_GIVEN: Final = (
    ("isolation", "programs run as the server's own user and see its files, processes and network"),
    ("memory_mib", "nothing caps memory"),
    ("tmp_mib", "the directory that stands for /tmp has no size limit"),
    ("processes", "nothing caps the number of processes"),
    ("open_files", "the server's own limit applies"),
    ("cpu_share", "nothing caps CPU time"),
    ("egress", "programs use the host's network"),
    ("freeze", "processes cannot be stopped between invocations"),
    ("read_only", "programs may write wherever the server's user may"),
)


class ProcessDriver:
    """Runs programs without any isolation."""

    def __init__(self, *, code_root: Path, runtime_root: Path, interpreter_root: Path, run_dir: Path) -> None:
        self._roots = {"code": code_root, "runtime": runtime_root, "interpreter": interpreter_root}
        self._run_dir = run_dir

    @asynccontextmanager
    async def open_sandbox(self, spec: SandboxSpec) -> AsyncIterator[Sandbox]:
        """Yield a sandbox; on leaving it its processes are dead and its files are gone. HostError if refused."""
        if spec.egress != "none":
            raise Refused("egress", f"this driver has no class {spec.egress!r}", "use the class 'none'")
        place = self._run_dir / f"process-{spec.sandbox_id}"
        try:
            await asyncio.to_thread(_make_place, place)
        except OSError as error:
            raise HostError(f"sandbox {spec.sandbox_id}: {error}") from error
        with _listen() as listener, _listen() as endpoint_listener:
            sandbox = ProcessSandbox(spec.sandbox_id, place, self._roots, (listener, endpoint_listener))
            try:
                yield sandbox
            finally:
                await sandbox.end()
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    def unsupported(self, spec: SandboxSpec) -> Sequence[Refusal]:
        """Return every isolation that this driver does not give: all of them."""
        return tuple(Refusal(setting, reason, _REMEDY) for setting, reason in NOT_GIVEN)


class ProcessSandbox:
    """A directory that stands for the sandbox's root, and two loopback ports."""

    def __init__(
        self,
        sandbox_id: SandboxId,
        place: Path,
        roots: dict[str, Path],
        listeners: tuple[socket.socket, socket.socket],
    ) -> None:
        self._sandbox_id = sandbox_id
        self._place = place
        self._roots = roots
        self._listener, self._endpoint_listener = listeners
        self._program: ProcessProgram | None = None
        self._peak_bytes = 0

    @property
    def sandbox_id(self) -> SandboxId:
        """The id it was made with."""
        return self._sandbox_id

    @property
    def listener(self) -> socket.socket:
        """A socket on the host's loopback."""
        return self._listener

    @property
    def runtime_api(self) -> str:
        """host:port of the listener."""
        return _address(self._listener)

    @property
    def endpoint_listener(self) -> socket.socket:
        """Another socket on the host's loopback."""
        return self._endpoint_listener

    @property
    def endpoint(self) -> str:
        """host:port of that."""
        return _address(self._endpoint_listener)

    def path(self, inside: str) -> str:
        """Return the host's path that stands for ``inside``; what is not one of AWS's places is the host's own."""
        places = ("/var/task", "/opt", "/var/runtime", "/var/lang", "/var/lambent/pyc", "/tmp")  # noqa: S108
        if any(inside == place or inside.startswith(f"{place}/") for place in places):
            return f"{self._place}{inside}"
        return inside

    async def start(self, program: Program) -> RunningProgram:
        """Start ``program``; there must be none running. HostError if it could not be started."""
        if self._program is not None and not self._program.has_ended:
            raise HostError("a program runs in it")
        self.place_trees(program.trees)
        try:
            process = await asyncio.create_subprocess_exec(
                *program.argv,
                stdin=asyncio.subprocess.DEVNULL if program.control_fd is None else program.control_fd,
                stdout=program.output_fd,
                stderr=program.output_fd,
                cwd=self.path("/var/task"),
                env=dict(program.environ),
                start_new_session=True,
                preexec_fn=functools.partial(_place_log, program.log_fd),
                close_fds=False,  # or it would close descriptor 62; the line above sees to the others
            )
        except (OSError, ValueError) as error:
            raise HostError(f"{program.argv[0]}: {error}") from error
        self._program = ProcessProgram(self, process)
        return self._program

    async def set_limits(self, limits: Limits) -> None:
        """Do nothing: this driver has none, as ``unsupported`` says."""

    async def open_outbound(self) -> socket.socket:
        """Return an unconnected non-blocking TCP socket of the host's network."""
        outbound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        outbound.setblocking(False)
        return outbound

    def freeze(self) -> None:
        """Refuse: signals are no faithful freezer."""
        raise Refused("freeze", "the process driver cannot freeze", _REMEDY)

    def thaw(self) -> None:
        """Do nothing, as nothing was frozen."""

    def held_memory_bytes(self) -> int | None:
        """Return nothing: its processes are in no group of their own."""
        return None

    async def usage(self) -> Usage:
        """Return the sum of its processes' own peaks, which counts shared pages more than once."""
        if self._program is not None:
            peak = sum(_peak_bytes(pid) for pid in _family(self._program.pid))
            self._peak_bytes = max(self._peak_bytes, peak)
        return Usage(peak_memory_mib=-(-self._peak_bytes // (1 << 20)))

    async def end(self) -> None:
        """Kill what runs."""
        if self._program is not None:
            await self._program.kill()

    def place_trees(self, trees: Trees) -> None:
        """Point AWS's places at the trees on the host."""
        _point(self._place / "var/task", self._roots["code"], trees.code)
        _point(self._place / "opt", self._roots["code"], trees.layers)
        _point(self._place / "var/runtime", self._roots["runtime"], trees.runtime)
        _point(self._place / "var/lang", self._roots["interpreter"], trees.interpreter)
        _point(self._place / "var/lambent/pyc", self._roots["code"], trees.bytecode)


class ProcessProgram:
    """A child process and what it started."""

    def __init__(self, sandbox: ProcessSandbox, process: asyncio.subprocess.Process) -> None:
        self._sandbox = sandbox
        self._process = process

    @property
    def pid(self) -> int:
        """The pid of the child."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the first process was reaped."""
        return self._process.returncode is not None

    async def wait(self) -> Exit:
        """Return how the first process ended; what it left in its session is killed."""
        code = await self._process.wait()
        _kill_session(self._process.pid)
        return Exit(code, None) if code >= 0 else Exit(None, -code)

    async def assign(self, trees: Trees, limits: Limits) -> None:
        """Point /var/task, /opt and the bytecode's place at these trees, under ``limits``."""
        if trees.runtime is not None or trees.interpreter is not None:
            raise HostError("runtime and interpreter cannot be assigned to a running program")
        if self.has_ended:
            raise HostError("the program does not run")
        await self._sandbox.set_limits(limits)
        self._sandbox.place_trees(trees)

    async def signal(self, number: int) -> None:
        """Send a signal to the first process. HostError if it is dead."""
        if self.has_ended:
            raise HostError("the program does not run")
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill the child, its descendants and its session; returns when the child is dead."""
        if not self.has_ended:
            _kill_all(_family(self._process.pid))
        _kill_session(self._process.pid)
        await self.wait()


def _make_place(place: Path) -> None:
    place.mkdir(parents=True, mode=0o700)
    for name in ("var/lambent", "tmp"):
        (place / name).mkdir(parents=True)
    for name in ("var/task", "opt", "var/runtime", "var/lang", "var/lambent/pyc"):
        # Empty until a tree is placed, and there as long as a program may stand in it.
        (place / "empty" / name).mkdir(parents=True)
        (place / name).symlink_to(place / "empty" / name)


def _place_log(log_fd: int | None) -> None:
    """In the child before exec: the log becomes descriptor 62, and nothing else but 0, 1, 2 goes along."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(name) > 2:
                os.set_inheritable(int(name), False)
    if log_fd == LOG_FD:
        os.set_inheritable(LOG_FD, True)
    elif log_fd is not None:
        os.dup2(log_fd, LOG_FD)


def _listen() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.setblocking(False)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


def _point(place: Path, root: Path, tree: TreeName | None) -> None:
    if tree is None:
        return
    if "/" in tree or tree in ("", ".", "..") or not (root / tree).is_dir():
        raise HostError(f"there is no tree {tree!r}")
    fresh = place.with_name(f"{place.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(root / tree)
    fresh.replace(place)


def _family(pid: int) -> list[int]:
    """A process and its living descendants."""
    found, unread = [], [pid]
    while unread:
        each = unread.pop()
        found.append(each)
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                unread += [int(child) for child in path.read_text().split()]
    return found


def _kill_session(session: int) -> None:
    mates = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.getsid(int(name)) == session:
                mates.append(int(name))
    _kill_all(mates)


def _kill_all(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _peak_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10
    return 0
