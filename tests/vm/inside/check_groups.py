"""Root's launcher on cgroup v2: no swap, birth in the final group, killing while frozen, controllers in a container."""

import asyncio
import os
from pathlib import Path

import pytest

from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Exit, Limits, Program, SandboxSpec, Trees
from lambent.sandbox.launcher import delegation
from lambent.testing.sandboxes import SYSTEM_PYTHON, open_roots, open_test_launcher

from .users import ROOT, group, write

pytestmark = pytest.mark.anyio
SPEC = SandboxSpec(sandbox_id="one", limits=Limits(memory_mib=64, tmp_mib=512))


@pytest.fixture
async def sandbox():
    with open_roots() as roots:
        async with open_test_launcher(roots) as client, BubblewrapDriver(client).open_sandbox(SPEC) as made:
            yield made
        assert not [path for path in ROOT.glob("lambent-*") if path.is_dir()]


def open_output(descriptor):
    return open(descriptor)


def swap_kib():
    return int(Path("/proc/swaps").read_text().splitlines()[1].split()[2])


async def start(sandbox, script):
    reader, writer = os.pipe()
    argv = [SYSTEM_PYTHON, "-I", "-c", script]
    program = await sandbox.start(Program(argv=argv, environ={}, trees=Trees(), output_fd=writer))
    os.close(writer)
    return program, open_output(reader)


def folder_of(pid):
    return Path(f"{ROOT}{Path(f'/proc/{pid}/cgroup').read_text().strip().removeprefix('0::')}")


async def test_every_process_of_a_sandbox_is_born_in_its_group_and_none_may_swap(sandbox):
    assert swap_kib() > 0
    script = "import os, time; os.fork(); print(os.getpid(), flush=True); time.sleep(600)"
    program, output = await start(sandbox, script)
    with output:
        for _ in range(2):
            await asyncio.to_thread(output.readline)
    folder = folder_of(program.pid)
    assert folder.name == "one"
    # bubblewrap's monitor, the namespace's init, the program, and its child.
    assert len((folder / "cgroup.procs").read_text().split()) == 4
    assert (folder / "memory.swap.max").read_text().strip() == "0"
    assert int((folder / "memory.max").read_text()) == 64 << 20
    await program.kill()


async def test_a_frozen_program_is_killed_and_the_next_one_runs(sandbox):
    program, output = await start(sandbox, "import time; print('ready', flush=True); time.sleep(600)")
    with output:
        await asyncio.to_thread(output.readline)
    sandbox.freeze()
    await program.kill()
    assert await program.wait() == Exit(None, 9)
    program, output = await start(sandbox, "print('next')")
    with output:
        assert await asyncio.to_thread(output.read) == "next\n"
    assert await program.wait() == Exit(0, None)


def test_processes_that_stand_in_the_way_of_controllers_are_moved_to_a_leaf():
    with group("container") as path:
        child = os.fork()
        if not child:
            write(path / "cgroup.procs", "0")
            os.execvp("sleep", ["sleep", "600"])
        while str(child) not in (path / "cgroup.procs").read_text().split():
            os.sched_yield()
        assert delegation.enable(str(path)) == (frozenset(delegation.CONTROLLERS), "")
        assert (path / delegation.LEAF / "cgroup.procs").read_text().split() == [str(child)]
        assert set((path / "cgroup.subtree_control").read_text().split()) == {"memory", "pids", "cpu"}
