"""An ordinary user's launcher, its limits tried out, once for each argument; and what doctor says of his groups."""

import asyncio
import json
import os
import sys
from pathlib import Path

from lambent.model.errors import HostError
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Limits, Program, SandboxSpec, Trees
from lambent.sandbox.probe import probe_host
from lambent.testing.sandboxes import SYSTEM_PYTHON, open_roots, open_test_launcher

FORKS = """import os, time
made = 0
try:
    while True:
        if not os.fork():
            time.sleep(600)
        made += 1
except BlockingIOError:
    print(made)
"""
HOARD = "x = bytearray(b'x') * (200 << 20); print('survived')"
SPEC = SandboxSpec(sandbox_id="one", limits=Limits(memory_mib=64, tmp_mib=512, processes=20, cpu_share=0.5))


def group_of(pid):
    return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


def open_output(descriptor):
    return open(descriptor)


async def start(sandbox, script):
    reader, writer = os.pipe()
    argv = [SYSTEM_PYTHON, "-I", "-c", script]
    program = await sandbox.start(Program(argv=argv, environ={}, trees=Trees(), output_fd=writer))
    os.close(writer)
    return program, open_output(reader)


async def run(sandbox, script):
    program, output = await start(sandbox, script)
    with output:
        said = await asyncio.to_thread(output.read)
    ended = await program.wait()
    return {"code": ended.code, "signal": ended.signal, "out_of_memory": ended.out_of_memory, "said": said}


async def look(driver):
    seen = {"missing": {each.setting: f"{each.reason}; {each.remedy}" for each in driver.unsupported(SPEC)}}
    async with driver.open_sandbox(SPEC) as sandbox:
        program, output = await start(sandbox, "import time; print('ready', flush=True); time.sleep(600)")
        with output:
            await asyncio.to_thread(output.readline)
            seen["born_in"] = group_of(program.pid)
            try:
                sandbox.freeze()
                events = Path("/sys/fs/cgroup" + seen["born_in"]) / "cgroup.events"
                while "frozen 1" not in events.read_text():
                    os.sched_yield()
                seen["frozen"] = True
            except HostError:
                seen["frozen"] = False
            await program.kill()
        if "memory_mib" not in seen["missing"]:
            seen["hoard"] = await run(sandbox, HOARD)
            seen["peak_mib"] = (await sandbox.usage()).peak_memory_mib
        seen["forks"] = (await run(sandbox, FORKS))["said"].strip()
    return seen


async def main():
    seen = {}
    with open_roots() as roots:
        for which in sys.argv[1:]:
            async with open_test_launcher(roots) as client:
                seen[which] = await look(BubblewrapDriver(client))
    probe = next(each for each in probe_host(Path("/var/tmp")) if each.name == "cgroups")
    seen["doctor"] = {"ok": probe.ok, "detail": probe.detail, "remedy": probe.remedy}
    seen["own"] = group_of("self")
    sys.stdout.write(json.dumps(seen) + "\n")


asyncio.run(main())
