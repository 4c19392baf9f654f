"""The default driver: sandboxes that the launcher makes with bubblewrap."""

import asyncio
import contextlib
import itertools
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from lambent.model.errors import HostError, Refused
from lambent.model.ids import SandboxId
from lambent.sandbox.controls import Controls
from lambent.sandbox.driver import (
    ENDPOINT_ADDRESS,
    RUNTIME_API_ADDRESS,
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
from lambent.sandbox.launcher_client import LauncherClient, LauncherLost

MIB: Final = 1 << 20
END_LIMIT_S: Final = 15.0
# Sandboxes and programs that the launcher makes at a time; more of them would only wait in it, with its limits on time
# already running against each.
STARTS_AT_ONCE: Final = 16


class BubblewrapDriver:
    """Every isolation that this host has. One client serves it; the client must be running."""

    def __init__(self, client: LauncherClient) -> None:
        self._client = client
        self._room = asyncio.Semaphore(STARTS_AT_ONCE)

    @asynccontextmanager
    async def open_sandbox(self, spec: SandboxSpec) -> AsyncIterator[Sandbox]:
        """Yield a sandbox; on leaving it all its processes are dead and nothing of it is left. HostError if refused."""
        for refusal in self.unsupported(spec):
            if refusal.setting == "egress":
                raise Refused(refusal.setting, refusal.reason, refusal.remedy)
        order = {"sandbox": spec.sandbox_id, "limits": _render_limits(spec.limits), "egress": spec.egress}
        try:
            async with self._room:
                _, sent = await self._client.call("create", order)
        except asyncio.CancelledError:
            self._client.post("end", {"sandbox": spec.sandbox_id})
            raise
        listeners = [socket.socket(fileno=sent.pop(name)) for name in ("listener", "endpoint")]
        sandbox = BubblewrapSandbox(self._client, self._room, spec.sandbox_id, listeners, Controls(sent))
        try:
            yield sandbox
        finally:
            await sandbox.end()

    def unsupported(self, spec: SandboxSpec) -> Sequence[Refusal]:
        """Return the settings of ``spec`` that this host cannot enforce."""
        missing = self._client.missing
        return [each for each in missing if each.setting != "egress" or spec.egress != "none"]


class BubblewrapSandbox:
    """One sandbox of one launcher's life."""

    def __init__(
        self,
        client: LauncherClient,
        room: asyncio.Semaphore,
        sandbox_id: SandboxId,
        listeners: Sequence[socket.socket],
        controls: Controls,
    ) -> None:
        for listener in listeners:
            listener.setblocking(False)
        self._client = client
        self._room = room
        self._generation = client.generation
        self._sandbox_id = sandbox_id
        self._listener, self._endpoint_listener = listeners
        self._controls = controls
        self._numbers = itertools.count(1)

    @property
    def sandbox_id(self) -> SandboxId:
        """The id it was made with."""
        return self._sandbox_id

    @property
    def listener(self) -> socket.socket:
        """The Runtime API's socket in its network."""
        return self._listener

    @property
    def runtime_api(self) -> str:
        """The Runtime API's address as the program sees it."""
        return RUNTIME_API_ADDRESS

    @property
    def endpoint_listener(self) -> socket.socket:
        """The AWS endpoint's socket in its network."""
        return self._endpoint_listener

    @property
    def endpoint(self) -> str:
        """The AWS endpoint's address as the program sees it."""
        return ENDPOINT_ADDRESS

    def path(self, inside: str) -> str:
        """Return the same: the program sees AWS's paths."""
        return inside

    async def start(self, program: Program) -> RunningProgram:
        """Start ``program``. HostError if it could not be started; bubblewrap's words are then in its output."""
        self._require_alive()
        number = next(self._numbers)
        named = {"output": program.output_fd, "log": program.log_fd, "control": program.control_fd}
        present = {name: descriptor for name, descriptor in named.items() if descriptor is not None}
        fields = {
            "sandbox": self._sandbox_id,
            "program": number,
            "argv": list(program.argv),
            "environ": dict(program.environ),
            "trees": render_trees(program.trees),
            "received": list(present),
        }
        exited = self._client.expect_exit(self._sandbox_id, number)
        try:
            async with self._room:
                reply, _ = await self._client.call("start", fields, descriptors=list(present.values()))
        except BaseException:
            self._client.forget_exit(self._sandbox_id, number)
            self._client.post("kill", {"sandbox": self._sandbox_id, "program": number})
            raise
        return BubblewrapProgram(self, number, int(reply["pid"]), exited)

    async def set_limits(self, limits: Limits) -> None:
        """Change the limits of the running sandbox; ``tmp_mib`` is fixed."""
        await self.call("set_limits", limits=_render_limits(limits))

    async def open_outbound(self) -> socket.socket:
        """Return an unconnected non-blocking TCP socket of the sandbox's network."""
        self._require_alive()
        _, sent = await self._client.call("outbound", {"sandbox": self._sandbox_id})
        outbound = socket.socket(fileno=sent["outbound"])
        outbound.setblocking(False)
        return outbound

    def freeze(self) -> None:
        """Order every process to stand where it is. HostError if refused."""
        self._controls.freeze()

    def thaw(self) -> None:
        """Let them go on."""
        self._controls.thaw()

    def held_memory_bytes(self) -> int | None:
        """Return the anonymous and kernel memory that it holds now; None where no cgroup tells."""
        return self._controls.held_memory_bytes()

    async def usage(self) -> Usage:
        """Return what it used."""
        self._require_alive()
        reply, _ = await self._client.call("usage", {"sandbox": self._sandbox_id})
        return Usage(
            peak_memory_mib=-(-int(reply["peak_memory_bytes"]) // MIB),
            resident_file_mib=-(-int(reply["resident_file_bytes"]) // MIB),
        )

    async def end(self) -> None:
        """Remove all of it. A launcher that died has removed it already, or its successor does."""
        self._listener.close()
        self._endpoint_listener.close()
        self._controls.close()
        if self._client.generation != self._generation:
            return
        try:
            async with asyncio.timeout(END_LIMIT_S):
                await self._client.call("end", {"sandbox": self._sandbox_id})
        except LauncherLost:
            pass
        except HostError:
            # The order may have waited for the successor, who knows nothing of it.
            if self._client.generation == self._generation:
                raise

    async def call(self, operation: str, **fields: object) -> None:
        """Send an order that has no answer but its success."""
        self._require_alive()
        await self._client.call(operation, {"sandbox": self._sandbox_id, **fields})

    def _require_alive(self) -> None:
        if self._client.generation != self._generation:
            raise LauncherLost("the sandbox died with its launcher")


class BubblewrapProgram:
    """A started program."""

    def __init__(self, sandbox: BubblewrapSandbox, number: int, pid: int, exited: asyncio.Future[Exit]) -> None:
        self._sandbox = sandbox
        self._number = number
        self._pid = pid
        self._exited = exited

    @property
    def pid(self) -> int:
        """The host's pid of the program proper, for diagnosis."""
        return self._pid

    async def wait(self) -> Exit:
        """Return how it ended; every process of the tree is then dead. Many may wait."""
        return await asyncio.shield(self._exited)

    async def assign(self, trees: Trees, limits: Limits) -> None:
        """Set ``limits``, then mount ``trees`` read-only into the running program's view. HostError if refused."""
        fields = {"trees": render_trees(trees), "limits": _render_limits(limits)}
        await self._sandbox.call("assign", program=self._number, **fields)

    async def signal(self, number: int) -> None:
        """Send a signal to the program proper. HostError if it is dead."""
        await self._sandbox.call("signal", program=self._number, number=number)

    async def kill(self) -> None:
        """End the whole tree at once; returns when it is dead. No error if it is dead already."""
        if self._exited.done():
            return
        with contextlib.suppress(LauncherLost):
            await self._sandbox.call("kill", program=self._number)
        await self.wait()


@asynccontextmanager
async def open_launcher(
    command: Sequence[str], *, environ: Mapping[str, str] | None = None, user: tuple[int, int] | None = None
) -> AsyncIterator[LauncherClient]:
    """Start a launcher as our own child, without a supervisor, and yield a running client of it.

    ``user``: (uid, gid) to start it as. For tools and tests; the server gets its channel from the supervisor.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = await asyncio.to_thread(_spawn_launcher, command, theirs.fileno(), dict(environ or {}), user)
        try:
            async with LauncherClient(ours).running() as client:
                yield client
        finally:
            process.terminate()
            await asyncio.to_thread(_reap, process)


def _spawn_launcher(
    command: Sequence[str], channel: int, environ: Mapping[str, str], user: tuple[int, int] | None
) -> "subprocess.Popen[bytes]":
    uid, gid = user or (None, None)
    groups = None if user is None else ()
    arguments = [*command, str(channel)]
    return subprocess.Popen(  # noqa: S603  the operator's own launcher
        arguments, pass_fds=[channel], env=environ, cwd="/", user=uid, group=gid, extra_groups=groups
    )


def render_trees(trees: Trees) -> dict[str, str]:
    """Return the protocol's form of ``trees``."""
    named = {
        "code": trees.code,
        "layers": trees.layers,
        "runtime": trees.runtime,
        "interpreter": trees.interpreter,
        "bytecode": trees.bytecode,
    }
    return {place: name for place, name in named.items() if name is not None}


def _reap(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _render_limits(limits: Limits) -> dict[str, object]:
    return {
        "memory_mib": limits.memory_mib,
        "tmp_mib": limits.tmp_mib,
        "processes": limits.processes,
        "open_files": limits.open_files,
        "cpu_share": limits.cpu_share,
        "cpu_weight": limits.cpu_weight,
    }
