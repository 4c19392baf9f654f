"""One environment, or a pool of them, over scripted runtimes, in fake time."""

import asyncio
import contextlib
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lambent.environment.api_server import ApiServers
from lambent.environment.assignment import Assigner
from lambent.environment.deadlines import Deadlines
from lambent.environment.environment import EnvironmentTools, ExecutionEnvironment
from lambent.environment.environments import Environments
from lambent.environment.freezing import DEFAULT_GRACE_S, Freezing
from lambent.environment.placement import PoolLimits
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, EnvironmentId, RequestId, Scope, TreeName
from lambent.model.invocations import InvokeCall, Target
from lambent.sandbox.host_memory import MemoryReading
from lambent.testing.clock import FakeClock
from lambent.testing.recording_driver import FixedCredentials, RecordingDriver, RecordingLog

SCOPE = Scope("111111111111", "us-east-1")
WAIT_LIMIT_S = 10.0

VERSION = FunctionVersion(
    scope=SCOPE,
    name="fn",
    version="$LATEST",
    generation=1,
    runtime="python3.13",
    handler="app.handler",
    role="arn:aws:iam::111111111111:role/r",
    memory_mib=128,
    timeout_s=3,
    tmp_mib=512,
    code=Digest("a" * 64),
    code_bytes=100,
    log=LogSettings(group="/aws/lambda/fn"),
)


class OneRuntime:
    async def prepare(self, identifier, architecture):
        return SimpleNamespace(
            identifier=identifier,
            argv=("/var/runtime/bootstrap",),
            runtime_tree=TreeName("runtime"),
            interpreter_tree=None,
            environ=(("PYTHONPATH", "/var/runtime"),),
            bootstrap_candidates=(),
            version="python:3.13.v1",
            version_arn=lambda region: f"arn:aws:lambda:{region}::runtime:" + "0" * 64,
            python=None,
        )


class Code:
    def __init__(self):
        self.uses = 0

    async def ensure_tree(self, digest):
        return TreeName(digest)

    async def ensure_bytecode(self, digest, python):
        return None

    @contextlib.contextmanager
    def in_use(self, digest):
        self.uses += 1
        try:
            yield
        finally:
            self.uses -= 1


async def echo(runtime):
    """Answer every event with itself."""
    while True:
        event = await runtime.next()
        await runtime.respond(event, event.body)


@dataclass
class World:
    clock: FakeClock
    driver: RecordingDriver
    tools: EnvironmentTools
    logs: list = field(default_factory=list)
    records: list = field(default_factory=list)
    code: Code = field(default_factory=Code)

    @property
    def log(self):
        return self.logs[-1]


_numbers = itertools.count(1)


def make_call(payload=b"{}", **changes):
    request_id = RequestId(f"00000000-0000-4000-8000-{next(_numbers):012d}")
    return InvokeCall(request_id=request_id, target=Target(SCOPE, "fn"), payload=payload, **changes)


def make_world(script=echo, *, grace_s=DEFAULT_GRACE_S):
    clock, logs, records, code = FakeClock(), [], [], Code()
    driver = RecordingDriver(script)

    def open_log(version, environment_id, at):
        logs.append(RecordingLog())
        return logs[-1]

    deadlines = Deadlines(clock)
    tools = EnvironmentTools(
        driver=driver,
        servers=ApiServers(clock),
        endpoint=FixedCredentials.no_endpoint,
        assigner=Assigner(OneRuntime(), code, FixedCredentials(), Path("/nonexistent")),
        open_log=open_log,
        clock=clock,
        deadlines=deadlines,
        freezing=Freezing(clock, grace_s),
        record=records.append,
    )
    return World(clock, driver, tools, logs, records, code)


async def eventually(predicate):
    """Return once ``predicate`` holds; the loop runs meanwhile."""
    async with asyncio.timeout(WAIT_LIMIT_S):
        while not predicate():  # noqa: ASYNC110 - of many things, in the loop of the test
            await asyncio.sleep(0.0005)


@asynccontextmanager
async def one_environment(world, version=VERSION, *, is_awaited=True):
    """Yield a living environment; it is retired at the end."""
    environment = ExecutionEnvironment(version, EnvironmentId("e" * 32), world.tools)
    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(each.run()) for each in (world.tools.deadlines, world.tools.freezing)]
        owner = group.create_task(environment.live())
        try:
            if is_awaited:
                async with asyncio.timeout(WAIT_LIMIT_S):
                    await environment.ready()
            yield environment
        finally:
            environment.retire()
            async with asyncio.timeout(WAIT_LIMIT_S):
                await asyncio.wait((owner,))
            for each in loops:
                each.cancel()


@asynccontextmanager
async def many_environments(world, *, read_memory=MemoryReading, **limits):
    """Yield a pool; all of it is gone at the end."""
    numbers = itertools.count(1)
    pool = Environments(
        world.tools,
        PoolLimits(**limits),
        new_id=lambda: EnvironmentId(f"{next(numbers):032x}"),
        read_memory=read_memory,
    )
    async with pool:
        yield pool


@pytest.fixture
def kit():
    """Everything above, for tests that cannot import from here."""
    return SimpleNamespace(
        VERSION=VERSION,
        SCOPE=SCOPE,
        replace=replace,
        make_world=make_world,
        make_call=make_call,
        eventually=eventually,
        one_environment=one_environment,
        many_environments=many_environments,
        echo=echo,
    )
