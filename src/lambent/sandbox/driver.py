"""The seam that makes sandboxes. Drivers: ``bubblewrap`` (default) and ``process`` (unsafe, must be asked for by name).

A *sandbox* is the lasting part: one kernel user id, one network namespace with two listening sockets in it, one /tmp,
one set of limits. A *program* runs in it, as a fresh tree of processes; when it ended or was killed, another may be
started in the same sandbox and finds the same /tmp and the same sockets.
"""

import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from lambent.model.ids import SandboxId, TreeName

RUNTIME_API_ADDRESS: Final = "169.254.100.1:9001"
ENDPOINT_ADDRESS: Final = "169.254.100.1:4566"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the sandbox as a whole may use. A limit this host cannot enforce makes ``unsupported`` speak."""

    memory_mib: int
    tmp_mib: int
    processes: int = 1024
    open_files: int = 1024
    cpu_share: float | None = None  # in vCPU; None: unlimited (INIT)
    cpu_weight: int = 100  # of one sandbox beside others when there is not enough for all; 1 to 10,000


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What is fixed for the sandbox's whole life."""

    sandbox_id: SandboxId
    limits: Limits
    # Or "internet": all but the host, other sandboxes, and ranges that are not the internet.
    egress: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Read-only directories that a program finds at AWS's places, by name beneath the launcher's roots."""

    code: TreeName | None = None  # beneath the code root, at /var/task; None in a cell that waits for its code
    layers: TreeName | None = None  # beneath the code root, at /opt
    runtime: TreeName | None = None  # beneath the runtime root, at /var/runtime
    interpreter: TreeName | None = None  # beneath the interpreter root, at /var/lang; None: the host's /usr serves
    bytecode: TreeName | None = None  # beneath the code root, at /var/lambent/pyc (PYTHONPYCACHEPREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process tree to start. ``argv[0]`` is a path inside the sandbox; the working directory is /var/task."""

    argv: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    trees: Trees
    output_fd: int  # becomes stdout and stderr; the caller keeps and closes his own copy
    log_fd: int | None = None  # becomes descriptor 62, framed log messages of AWS's runtimes
    control_fd: int | None = None  # becomes descriptor 0; else /dev/null


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended. ``signal`` is set when a signal ended it, else ``code``."""

    code: int | None
    signal: int | None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a sandbox used so far: memory that is its own at most, and what of files its processes have mapped now."""

    peak_memory_mib: int
    resident_file_mib: int = 0  # of programs and libraries mostly; other sandboxes may have the same pages


@dataclass(frozen=True, slots=True)
class Refusal:
    """A setting this host cannot enforce: which, why, and what would help."""

    setting: str
    reason: str
    remedy: str


class RunningProgram(Protocol):
    """A started program. All of its processes are in the sandbox."""

    @property
    def pid(self) -> int:
        """The host's pid of the first process, for diagnosis."""
        ...

    async def wait(self) -> Exit:
        """Return how the first process ended; every process of the tree is then dead. Many may wait."""
        ...

    async def assign(self, trees: Trees, limits: Limits) -> None:
        """Set the sandbox's ``limits``, then mount code, layers and bytecode of ``trees`` read-only into the program's
        view. HostError if refused.
        """
        ...

    async def signal(self, number: int) -> None:
        """Send a signal to the first process of the program proper (not to an init above it)."""
        ...

    async def kill(self) -> None:
        """End the whole tree at once; returns when it is dead. No error if it is dead already."""
        ...


class Sandbox(Protocol):
    """One sandbox. Not for two tasks at once."""

    @property
    def sandbox_id(self) -> SandboxId:
        """The id it was made with."""
        ...

    @property
    def listener(self) -> socket.socket:
        """A listening TCP socket at ``runtime_api`` in the sandbox's network; non-blocking; the driver closes it."""
        ...

    @property
    def runtime_api(self) -> str:
        """host:port as the program sees it. ``169.254.100.1:9001``, but for the ``process`` driver."""
        ...

    @property
    def endpoint_listener(self) -> socket.socket:
        """A second one, at ``endpoint``, for the AWS endpoint inside."""
        ...

    @property
    def endpoint(self) -> str:
        """host:port as the program sees it. ``169.254.100.1:4566``, but for the ``process`` driver."""
        ...

    def path(self, inside: str) -> str:
        """Return where the program finds AWS's path ``inside`` (/var/task, /opt, /var/runtime, /var/lang, /tmp).

        The same text for isolating drivers; the ``process`` driver answers with host paths once ``start`` is near.
        """
        ...

    async def start(self, program: Program) -> RunningProgram:
        """Start ``program``; there must be none running. HostError if it could not be started."""
        ...

    async def set_limits(self, limits: Limits) -> None:
        """Change the limits of the running sandbox."""
        ...

    async def open_outbound(self) -> socket.socket:
        """Return an unconnected non-blocking TCP socket of the sandbox's network: its holder may connect into it."""
        ...

    def freeze(self) -> None:
        """Order every process to stand where it is; they do within about a millisecond. HostError if refused.

        Neither this nor ``thaw`` waits for anybody. What is frozen dies when it is killed, as anything else.
        """
        ...

    def thaw(self) -> None:
        """Let them go on; nothing if they do. HostError if refused."""
        ...

    def held_memory_bytes(self) -> int | None:
        """Return the anonymous and kernel memory that it holds now, which ending it would free; None: not known."""
        ...

    async def usage(self) -> Usage:
        """Return what it used."""
        ...


class SandboxDriver(Protocol):
    """Makes sandboxes. Every driver passes tests/contract/test_sandbox_driver.py."""

    def open_sandbox(self, spec: SandboxSpec) -> AbstractAsyncContextManager[Sandbox]:
        """Yield a sandbox; on leaving it all its processes are dead and nothing of it is left. HostError if refused."""
        ...

    def unsupported(self, spec: SandboxSpec) -> Sequence[Refusal]:
        """Return the settings of ``spec`` that this host cannot enforce."""
        ...
