"""Limits act on a hostile function: memory, processes, /tmp, CPU; and what cannot be limited is owned up to."""

import asyncio
import os
from pathlib import Path

import pytest

from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Exit, Limits, Program, SandboxSpec, Trees
from lambent.testing.sandboxes import open_roots, open_test_launcher

pytestmark = [pytest.mark.anyio, pytest.mark.root]

PYTHON = "/usr/bin/python3"


@pytest.fixture
async def driver():
    if os.geteuid() != 0:
        pytest.skip("limits need root on this host")
    with open_roots() as roots:
        async with open_test_launcher(roots) as client:
            yield BubblewrapDriver(client)


def spec(**limits):
    return SandboxSpec(sandbox_id="limited", limits=Limits(**{"memory_mib": 128, "tmp_mib": 512, **limits}))


async def run(sandbox, script):
    reader, writer = os.pipe()
    program = await sandbox.start(
        Program(argv=[PYTHON, "-I", "-c", script], environ={}, trees=Trees(), output_fd=writer)
    )
    os.close(writer)
    output = await asyncio.to_thread(read_all, reader)
    return await program.wait(), output.decode()


def read_all(reader):
    with open(reader, "rb") as file:
        return file.read()


def find_groups():
    # Groups of others come and go meanwhile: os.walk does not mind.
    return [Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup") if folder.endswith("/limited")]


async def test_nothing_is_unsupported_as_root(driver):
    assert not driver.unsupported(spec())


async def test_more_memory_than_the_limit_ends_the_program_as_out_of_memory(driver):
    async with driver.open_sandbox(spec()) as sandbox:
        ended, output = await run(sandbox, "x = bytearray(b'x') * (300 << 20); print('survived')")
        assert (ended, output) == (Exit(None, 9, out_of_memory=True), "")
        # The sandbox lives on, and the next program is not blamed for the one before.
        assert await run(sandbox, "import os; os.kill(os.getpid(), 9)") == (Exit(None, 9), "")
        assert (await sandbox.usage()).peak_memory_mib <= 128


async def test_swap_does_not_stretch_the_memory_limit(driver):
    async with driver.open_sandbox(spec()):
        groups = find_groups()
        limits = {
            file.read_text().strip()
            for group in groups
            for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max")
            if (file := group / name).exists()
        }
        assert limits == {str(128 << 20)}


async def test_a_full_tmp_is_no_space_left_and_no_memory_used(driver):
    script = """import errno, os
written = 0
try:
    with open("/tmp/file", "wb", buffering=0) as file:
        while True:
            written += file.write(bytes(1 << 20))
except OSError as error:
    print(errno.errorcode[error.errno], written >> 20)
"""
    async with driver.open_sandbox(spec()) as sandbox:
        ended, output = await run(sandbox, script)
        error, mib = output.split()
        assert (ended, error) == (Exit(0, None), "ENOSPC")
        assert 512 <= int(mib) < 540
        assert (await sandbox.usage()).peak_memory_mib < 100


@pytest.mark.parametrize("mib", [512, 1024, 10_240])
async def test_tmp_has_the_size_that_was_asked_for(driver, mib):
    async with driver.open_sandbox(spec(tmp_mib=mib)) as sandbox:
        _, output = await run(sandbox, "import os; s = os.statvfs('/tmp'); print(s.f_bavail * s.f_frsize >> 20)")
        assert mib <= int(output) <= mib * 1.05


async def test_the_number_of_processes_is_capped(driver):
    script = """import os, time
made = 0
try:
    while True:
        if not os.fork():
            time.sleep(600)
        made += 1
except BlockingIOError:
    print(made)
"""
    async with driver.open_sandbox(spec(processes=50)) as sandbox:
        ended, output = await run(sandbox, script)
        assert ended == Exit(0, None)
        assert 40 <= int(output) < 50


async def test_the_cpu_quota_follows_the_share(driver):
    async with driver.open_sandbox(spec()) as sandbox:
        groups = find_groups()

        def quota():
            v1 = [(group / "cpu.cfs_quota_us").read_text() for group in groups if (group / "cpu.cfs_quota_us").exists()]
            v2 = [(group / "cpu.max").read_text() for group in groups if (group / "cpu.max").exists()]
            return (v1 or v2)[0].split()[0]

        assert quota() in ("-1", "max")
        await sandbox.set_limits(Limits(memory_mib=128, tmp_mib=512, cpu_share=128 / 1769))
        assert quota() == "7236"
        await sandbox.set_limits(Limits(memory_mib=128, tmp_mib=512, cpu_share=None))
        assert quota() in ("-1", "max")


async def test_the_memory_limit_goes_up_and_down_while_a_program_runs(driver):
    async with driver.open_sandbox(spec()) as sandbox:
        for mib in (512, 128, 3008):
            await sandbox.set_limits(Limits(memory_mib=mib, tmp_mib=512))
        assert (await run(sandbox, "x = bytearray(b'x') * (300 << 20)"))[0] == Exit(0, None)


async def test_an_ordinary_user_is_told_what_is_not_enforced():
    from lambent.testing.sandboxes import find_or_make_test_user

    if os.geteuid() != 0:
        pytest.skip("compares the ordinary user with root")
    user = find_or_make_test_user()
    with open_roots(user) as roots:
        async with open_test_launcher(roots, user=user) as client:
            refusals = {refusal.setting: refusal for refusal in BubblewrapDriver(client).unsupported(spec())}
            assert "tmp_mib" in refusals
            assert all(refusal.reason and refusal.remedy for refusal in refusals.values())
            assert "user_id" not in refusals
