"""kill -9 of the launcher: every sandbox dies with it, its successor removes the rest, and the server hears of it."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from lambent.model.errors import HostError
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Exit, Limits, Program, SandboxSpec, Trees
from lambent.sandbox.launcher_client import LauncherClient, launcher_command
from lambent.testing.sandboxes import SYSTEM_PYTHON

pytestmark = pytest.mark.anyio


class Supervised:
    """Holds both ends of the channel, as the supervisor does, and starts launchers on one of them."""

    def __init__(self, roots, user):
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.roots, self.user = roots, user
        self.process = None

    def start(self):
        command = launcher_command(
            python=SYSTEM_PYTHON,
            code_root=self.roots.code,
            runtime_root=self.roots.runtime,
            interpreter_root=self.roots.interpreter,
            run_dir=self.roots.run,
        )
        uid, gid = self.user or (None, None)
        channel = self.theirs.fileno()
        self.process = subprocess.Popen(
            [*command, str(channel)],
            pass_fds=[channel],
            user=uid,
            group=gid,
            extra_groups=[] if self.user else None,
            env={},
        )

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(20) == 0
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def supervised(roots, user):
    # Orphans of a dead launcher come to us, as they would to the supervisor.
    libc = __import__("ctypes").CDLL(None)
    libc.prctl(36, 1, 0, 0, 0)
    made = Supervised(roots, user)
    made.start()
    yield made
    made.end()
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def left_on_the_host(place, instance):
    """Everything of this launcher that can be seen from outside, by kind."""
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                if (f"lambent-sandbox-{instance}".encode() in line) or str(place).encode() in line:
                    processes.append(line)
    return {
        "processes": processes,
        "cgroups": [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if f"/lambent-{instance}/" in folder],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(place) in line],
        "devices": [
            path.read_text()
            for path in Path("/sys/block").glob("loop*/loop/backing_file")
            if str(place) in path.read_text() or f"lambent-tmp-{instance}" in path.read_text()
        ],
        "files": [str(path) for path in (place / "run").rglob("*") if path.is_file() and path.name != "launcher.lock"],
    }


def instance_of(roots):
    return f"{__import__('zlib').crc32(os.fsencode(os.path.realpath(roots.run))):08x}"


def until(condition, limit_s=10):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.01)


@contextlib.asynccontextmanager
async def opened(driver, name, *, tmp_mib=512):
    spec = SandboxSpec(sandbox_id=name, limits=Limits(memory_mib=256, tmp_mib=tmp_mib))
    async with driver.open_sandbox(spec) as sandbox:
        yield sandbox


async def sleeper(sandbox, script="exec sleep 600"):
    reader, writer = os.pipe()
    argv = ["/bin/sh", "-c", f"echo kept > /tmp/file; echo ready; {script}"]
    program = await sandbox.start(Program(argv=argv, environ={}, trees=Trees(code="function"), output_fd=writer))
    os.close(writer)
    assert await asyncio.to_thread(os.read, reader, 6) == b"ready\n"
    os.close(reader)
    return program


async def test_every_sandbox_dies_with_the_launcher_and_nothing_is_left(supervised, roots, user):
    clean = {kind: [] for kind in ("processes", "cgroups", "mounts", "devices", "files")}
    async with LauncherClient(supervised.ours).running() as client, contextlib.AsyncExitStack() as stack:
        driver = BubblewrapDriver(client)
        running = await stack.enter_async_context(opened(driver, "running"))
        programs = [await sleeper(running)]
        daemon = await stack.enter_async_context(opened(driver, "daemon"))
        programs.append(await sleeper(daemon, "setsid sleep 600 & exec sleep 600"))
        await stack.enter_async_context(opened(driver, "empty", tmp_mib=600))
        if user is None:
            frozen = await stack.enter_async_context(opened(driver, "frozen"))
            programs.append(await sleeper(frozen))
            frozen.freeze()
        pids = [program.pid for program in programs]
        supervised.kill()
        supervised.start()
        exits = [await asyncio.wait_for(program.wait(), 20) for program in programs]
        assert exits == [Exit(None, signal.SIGKILL)] * len(programs)
        # The successor serves; what the dead one had is refused, and ends without an error.
        with pytest.raises(HostError):
            await running.start(Program(argv=["/bin/true"], environ={}, trees=Trees(), output_fd=2))
        async with opened(driver, "running") as again:
            program = await sleeper(again)
            assert not any(is_alive(pid) for pid in pids)
            await program.kill()
    supervised.process.terminate()
    assert supervised.process.wait(20) == 0
    until(lambda: left_on_the_host(roots.place, instance_of(roots)) == clean)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def test_sandboxes_of_a_dead_server_are_gone_when_the_next_one_is_greeted(supervised):
    limits = {
        "memory_mib": 256,
        "tmp_mib": 512,
        "processes": 64,
        "open_files": 64,
        "cpu_share": None,
        "cpu_weight": 100,
    }
    start = {"program": 1, "argv": ["/bin/sleep", "600"], "environ": {}, "trees": {}, "received": ["output"]}
    async with LauncherClient(supervised.ours).running() as first:
        _, sent = await first.call("create", {"sandbox": "of-the-first", "limits": limits, "egress": "none"})
        for descriptor in sent.values():
            os.close(descriptor)
        reply, _ = await first.call("start", {"sandbox": "of-the-first", **start}, descriptors=[2])
    assert is_alive(reply["pid"])
    async with LauncherClient(supervised.ours).running() as second:
        assert not is_alive(reply["pid"])
        async with opened(BubblewrapDriver(second), "of-the-first") as same_name:
            assert await (await sleeper(same_name, "exit 3")).wait() == Exit(3, None)


async def test_requests_that_waited_for_a_dead_launcher_fail_and_new_ones_succeed(supervised):
    async with LauncherClient(supervised.ours).running() as client:
        driver = BubblewrapDriver(client)
        supervised.kill()
        waiting = asyncio.ensure_future(opened(driver, "waits").__aenter__())
        await asyncio.sleep(0)
        supervised.start()
        with pytest.raises(HostError):
            await asyncio.wait_for(waiting, 20)
        async with opened(driver, "waits") as sandbox:
            assert await (await sleeper(sandbox, "exit 0")).wait() == Exit(0, None)


async def test_a_cancelled_creation_leaves_no_sandbox(supervised):
    async with LauncherClient(supervised.ours).running() as client:
        driver = BubblewrapDriver(client)
        for _ in range(5):
            task = asyncio.ensure_future(opened(driver, "cancelled").__aenter__())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(10):
            while True:
                try:
                    async with opened(driver, "cancelled"):
                        break
                except HostError:  # its predecessor is being removed
                    await asyncio.sleep(0.01)


async def test_a_second_launcher_in_the_same_run_directory_waits_for_the_first(supervised, roots, user):
    async with LauncherClient(supervised.ours).running():
        other = Supervised(roots, user)
        other.start()
        # It gives up by itself: two would sweep each other's sandboxes away.
        assert await asyncio.to_thread(other.process.wait, 20) == 1
        other.ours.close()
        other.theirs.close()
