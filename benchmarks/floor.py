"""L, the floor: a loop in one process over the very same sandboxed environments, without endpoint, logs or records.

A process of its own (``python -m benchmarks.floor``) that takes orders on its standard input: the parent is ``Floor``.

With one client its median has two values on a machine of few cores: loop and function on one core wake each other
without an interrupt; on two, every hop waits for one. The scheduler chooses; so does it for the server, which has one
process more to place. Neither is pinned, as no operator would; where the two differ, CPU time (goal 2) is the measure.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import uvloop

from benchmarks.bare import BareEnvironment, BareRuntimeApi, loop_over
from benchmarks.functions import EVENT, HANDLER, MEMORY_MIB, RUNTIME, SOURCE, caches
from benchmarks.load import Load
from lambent.assembly.clock import SystemClock
from lambent.environment.assignment import Assigner
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, EnvironmentId, SandboxId, Scope, TreeName
from lambent.runtimes.catalogue import RuntimeCatalogue
from lambent.runtimes.provider import RuntimeProvider
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Limits, SandboxDriver, SandboxSpec
from lambent.testing.recording_driver import FixedCredentials
from lambent.testing.sandboxes import open_roots, open_test_launcher

SCOPE = Scope("000000000000", "us-east-1")
VERSION = FunctionVersion(
    scope=SCOPE,
    name="bare",
    version="$LATEST",
    generation=1,
    runtime=RUNTIME,
    handler=HANDLER,
    role="arn:aws:iam::000000000000:role/r",
    memory_mib=MEMORY_MIB,
    timeout_s=20,
    tmp_mib=512,
    code=Digest("app"),
    code_bytes=len(SOURCE),
    log=LogSettings(group="/aws/lambda/bare"),
)


class _Code:
    """The one package there is."""

    async def ensure_tree(self, digest: Digest) -> TreeName:
        """Return its tree."""
        return TreeName(digest)

    async def ensure_bytecode(self, digest: Digest, python: object) -> TreeName | None:
        """Return none."""
        return None

    def in_use(self, digest: Digest) -> contextlib.AbstractContextManager[object]:
        """Keep nothing."""
        return contextlib.nullcontext()


@asynccontextmanager
async def open_environment(driver: SandboxDriver, assigner: Assigner) -> AsyncIterator[BareEnvironment]:
    """Yield an environment whose runtime is being started."""
    environment_id = EnvironmentId(uuid4().hex)
    limits = Limits(memory_mib=MEMORY_MIB, tmp_mib=512, cpu_share=MEMORY_MIB / 1769)
    environment = BareEnvironment()
    async with AsyncExitStack() as stack:
        spec = SandboxSpec(sandbox_id=SandboxId(f"env-{environment_id}"), limits=limits)
        now = SystemClock().now()
        assignment = await stack.enter_async_context(assigner.open_assignment(VERSION, environment_id, now))
        sandbox = await stack.enter_async_context(driver.open_sandbox(spec))
        server = await asyncio.get_running_loop().create_server(
            lambda: BareRuntimeApi(environment), sock=sandbox.listener.dup()
        )
        stack.callback(server.close)
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, nowhere)
        output: Any = SimpleNamespace(output_fd=nowhere, log_fd=nowhere)
        running = await sandbox.start(assignment.program(sandbox, output))
        stack.push_async_callback(running.kill)
        yield environment


async def spawn_and_invoke(driver: SandboxDriver, assigner: Assigner) -> float:
    """Return the seconds from nothing to the first answer."""
    before = time.perf_counter()
    async with open_environment(driver, assigner) as environment:
        await environment.invoke(EVENT)
        return time.perf_counter() - before


async def serve_orders() -> None:
    """Answer each line of standard input with one of standard output, until it ends."""
    loop, cache = asyncio.get_running_loop(), caches() / "runtimes"
    with open_roots() as roots:
        roots.write("code/app/app.py", SOURCE)
        places: Any = SimpleNamespace(
            code=roots.code, runtime=cache / "runtimes", interpreter=cache / "interpreters", run=roots.run
        )
        for folder in (places.runtime, places.interpreter):
            folder.mkdir(parents=True, exist_ok=True)
        runtimes = RuntimeProvider(
            RuntimeCatalogue.load(),
            runtime_root=places.runtime,
            interpreter_root=places.interpreter,
            cache_dir=cache / "cache",
            configured={},
            host_environ=os.environ,
        )
        assigner = Assigner(runtimes, _Code(), FixedCredentials(), roots.code)
        async with AsyncExitStack() as stack:
            driver = BubblewrapDriver(await stack.enter_async_context(open_test_launcher(places)))
            environments: list[BareEnvironment] = []
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                order = json.loads(line)
                if order["do"] == "spawn":
                    latencies = [await spawn_and_invoke(driver, assigner) for _ in range(order["count"])]
                    print(json.dumps({"latencies_s": latencies, "rate": 0.0}), flush=True)
                    continue
                while len(environments) < order["environments"]:
                    environments.append(await stack.enter_async_context(open_environment(driver, assigner)))
                    await environments[-1].invoke(EVENT)
                latencies, rate = await loop_over(environments[: order["environments"]], EVENT, order["count"])
                print(json.dumps({"latencies_s": latencies, "rate": rate}), flush=True)


class Floor:
    """The parent's end."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def drive(self, *, environments: int, count: int) -> Load:
        """Invoke each of so many environments ``count`` times, all side by side."""
        return self._ask({"do": "drive", "environments": environments, "count": count})

    def spawn(self, count: int) -> Load:
        """Start an environment, invoke it once, end it; so often."""
        return self._ask({"do": "spawn", "count": count})

    def _ask(self, order: dict[str, object]) -> Load:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the floor's process ended")
        return Load(**json.loads(answer))


@contextmanager
def open_floor() -> Iterator[Floor]:
    """Yield the floor in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.floor"],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Floor(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    uvloop.run(serve_orders())
