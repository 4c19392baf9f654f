"""Stem cells: sandboxes with every defence on and a runtime in them, rehearsed before any function is known.

A cell is born with no file and no variable of a function. Here: how one is made, rehearsed and handed over; when, and
how many, is ``cell_pool``'s.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self
from uuid import uuid4

from lambent.environment.api_server import ApiServers
from lambent.environment.assignment import Assignment, PreparedRuntime, Runtimes
from lambent.environment.cell_key import CELL_TMP_MIB, CellKey
from lambent.environment.limits import decide_init_limits
from lambent.environment.output import OutputLog, ProgramOutput
from lambent.environment.programs import StartedProgram
from lambent.environment.runtime_api import Exchange, RuntimeAnswer, RuntimeApi, RuntimeObserver
from lambent.environment.variables import Credentials, EnvironmentFacts, process_environment
from lambent.model.clock import Clock
from lambent.model.errors import HostError
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, EnvironmentId, RequestId, SandboxId, Scope, new_uuid
from lambent.sandbox.driver import Limits, Program, RunningProgram, Sandbox, SandboxDriver, SandboxSpec, Trees

# What a cell may use while it waits: the least that a function can have.
CELL_MEMORY_MIB: Final = 128
# While it has no function, a function's sandbox has ten times as much of the processors.
CELL_CPU_WEIGHT: Final = 10
REHEARSAL_LIMIT_S: Final = 20.0
# What a cell reads at once; a function's variables are at most 4 KB.
ASSIGNMENT_LIMIT_BYTES: Final = 1 << 16
# A process shows its variables where it was started with some: the function's must find room there.
ROOM: Final = "LAMBENT_ROOM"
_ROOM_BYTES: Final = 12_288
_NO_MARK: Final = Credentials("", "", "")


class CellLost(HostError):
    """A cell died, or could not be made; whoever wanted it spawns instead."""


class CellSource(Protocol):
    """Where environments get cells from."""

    async def take(self, version: FunctionVersion) -> "StemCell | None":
        """Return a cell for ``version``, which the caller then owns; None: spawn."""
        ...


class NoCells:
    """A source that has none."""

    async def take(self, version: FunctionVersion) -> "StemCell | None":
        """Return None."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTools:
    """What all cells of a process share."""

    driver: SandboxDriver
    servers: ApiServers
    runtimes: Runtimes
    clock: Clock


class StemCell:
    """A rehearsed cell that waits for a function. An async context manager: on leaving all of it is gone."""

    def __init__(self, key: CellKey, sandbox: Sandbox, parts: "_Parts", stack: AsyncExitStack) -> None:
        self.key = key
        self.sandbox = sandbox
        self._parts = parts
        self._stack = stack

    @property
    def is_alive(self) -> bool:
        """Whether its program runs."""
        return self._parts.program.ended is None

    def when_dead(self, notify: Callable[[], None]) -> None:
        """Have ``notify`` called when its program ends, until it is handed over."""
        self._parts.program.notify = notify

    def hand_over(self, observer: RuntimeObserver) -> RuntimeApi:
        """Return its Runtime API, which speaks to ``observer`` from now on and remembers nothing."""
        self._parts.api.hand_over(observer)
        return self._parts.api

    async def become(
        self, assignment: Assignment, limits: Limits, log: OutputLog, notify: Callable[[], None]
    ) -> StartedProgram:
        """Make its program that of ``assignment``, which INIT then goes on with. CellLost if it died before.

        Limits first, then code, then variables: the program begins when it has read them.
        """
        parts = self._parts
        program = assignment.program(self.sandbox, parts.output)
        message = json.dumps({"environ": program.environ, "born": parts.born}, ensure_ascii=False).encode()
        if len(message) > ASSIGNMENT_LIMIT_BYTES:
            raise CellLost(f"{len(message)} bytes of variables are too many for a cell")
        try:
            await parts.running.assign(replace(program.trees, runtime=None, interpreter=None), limits)
            parts.output.serve(log)
            parts.program.notify = notify
            parts.control.send(message)
        except (HostError, OSError) as error:
            raise CellLost(f"a cell was gone when its function came: {error}") from error
        parts.control.close()
        return parts.program

    async def end_program(self) -> None:
        """Kill its program, if it lives; another may be started in its sandbox then."""
        await self._parts.program.end()

    async def close(self) -> None:
        """End it."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


@dataclass(slots=True, kw_only=True)
class _Parts:
    """What a cell holds besides its sandbox."""

    api: RuntimeApi
    running: RunningProgram
    program: StartedProgram
    output: ProgramOutput
    control: socket.socket
    born: Mapping[str, str] = field(repr=False)  # the variables that it was started with


async def open_cell(key: CellKey, tools: CellTools) -> StemCell:
    """Return a rehearsed cell of ``key``, which the caller then owns. HostError if none can be made."""
    async with AsyncExitStack() as stack:
        runtime = await tools.runtimes.prepare(key.runtime, key.architecture)
        sandbox = await stack.enter_async_context(tools.driver.open_sandbox(_spec(key, tools.driver)))
        rehearsal = _Rehearsal()
        await stack.enter_async_context(tools.servers.open_server(rehearsal.api, sandbox.listener))
        log = _CellLog()
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(control.close)
        control.setblocking(False)
        output = ProgramOutput(log, tools.clock)
        try:
            program = _program(key, runtime, sandbox, output, theirs.fileno(), tools.clock.now())
            running = await sandbox.start(program)
        except BaseException:
            output.close()
            raise
        finally:
            theirs.close()
        output.started()
        started = StartedProgram(running, output, lambda: None)
        stack.push_async_callback(started.end)
        parts = _Parts(
            api=rehearsal.api, running=running, program=started, output=output, control=control, born=program.environ
        )
        await _wait_until_ready(control, log)
        output.drain()
        return StemCell(key, sandbox, parts, stack.pop_all())


async def _wait_until_ready(control: socket.socket, log: "_CellLog") -> None:
    word = b""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(REHEARSAL_LIMIT_S):
            word = await asyncio.get_running_loop().sock_recv(control, 16)
    if word != b"ready":
        raise CellLost(f"a cell ended before it was ready: {log.tail()}")


def _spec(key: CellKey, driver: SandboxDriver) -> SandboxSpec:
    limits = Limits(
        memory_mib=CELL_MEMORY_MIB, tmp_mib=CELL_TMP_MIB, processes=key.processes, cpu_weight=CELL_CPU_WEIGHT
    )
    spec = SandboxSpec(sandbox_id=SandboxId(f"cell-{uuid4().hex}"), limits=limits, egress=key.egress)
    return replace(spec, limits=decide_init_limits(limits, driver.unsupported(spec)))


def _program(
    key: CellKey, runtime: PreparedRuntime, sandbox: Sandbox, output: ProgramOutput, control_fd: int, now: datetime
) -> Program:
    facts = EnvironmentFacts(
        environment_id=EnvironmentId("0" * 32),
        created_at=now,
        runtime_api=sandbox.runtime_api,
        endpoint=sandbox.endpoint,
        credentials=_NO_MARK,
        runtime_environ=dict(runtime.environ),
    )
    return Program(
        argv=runtime.argv,
        environ={**process_environment(nobody(key), facts, sandbox.path), ROOM: " " * _ROOM_BYTES},
        trees=Trees(runtime=runtime.runtime_tree, interpreter=runtime.interpreter_tree),
        output_fd=output.output_fd,
        log_fd=output.log_fd,
        control_fd=control_fd,
    )


def nobody(key: CellKey) -> FunctionVersion:
    """Return the function that a cell of ``key`` is started as: it has the key's settings, and nothing of anyone's."""
    return FunctionVersion(
        scope=Scope(key.account_id, "us-east-1"),
        name="rehearsal",
        version="$LATEST",
        generation=0,
        runtime=key.runtime,
        handler="rehearsal.handler",
        role="",
        memory_mib=key.memory_mib or CELL_MEMORY_MIB,
        timeout_s=3,
        tmp_mib=CELL_TMP_MIB,
        code=Digest(""),
        code_bytes=0,
        architecture=key.architecture,
        log=LogSettings(group="", is_json=key.is_json, application_level=key.level),
        egress=key.egress,
    )


class _Rehearsal:
    """Gives a runtime events of nobody for as long as it asks, and forgets the answers."""

    def __init__(self) -> None:
        self.api = RuntimeApi(self)

    def runtime_ready(self) -> None:
        """Give it an event."""
        request_id = RequestId(new_uuid())
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", request_id),
            ("Lambda-Runtime-Deadline-Ms", "4102444800000"),
            ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:rehearsal"),
            ("Lambda-Runtime-Invocation-Id", request_id),
            ("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0"),
        ]
        self.api.open(Exchange(request_id, request_id, headers, b'{"rehearsal": true}'))

    def init_failed(self, answer: RuntimeAnswer) -> None:
        """It will end and never say that it is ready."""

    def response_started(self, exchange: Exchange) -> None:
        """Nobody waits for it."""

    def answered(self, exchange: Exchange, answer: RuntimeAnswer) -> None:
        """Nobody waits for it."""


class _CellLog:
    """What a cell prints before it has a function, of which the last is told if it fails. Never a function's output."""

    def __init__(self) -> None:
        self._last: list[bytes] = []

    def tail(self) -> str:
        """Return the last lines."""
        return b" / ".join(line.strip() for line in self._last).decode(errors="replace") or "it said nothing"

    def output(self, message: bytes, at: datetime, *, level: str | None = None) -> None:
        """Keep the last few."""
        self._last = [*self._last[-3:], message[:500]]
