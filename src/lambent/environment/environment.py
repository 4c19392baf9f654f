"""One execution environment: a sandbox, the program in it, and its life by the table in ``model.phases``.

One owner task (``live``) acts on the sandbox; callers, timers and the Runtime API only leave word and wake it. A warm
invocation is dispatched by its caller and ended by the runtime's next call; the owner sleeps, unless it is to ask the
sandbox something.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from lambent.environment import faults
from lambent.environment.api_server import ENDPOINT_LIMITS, ApiServers
from lambent.environment.assignment import Assigner, Assignment, CredentialSession
from lambent.environment.deadlines import Deadlines
from lambent.environment.freezing import Freezing, Repose
from lambent.environment.invocation_run import Done, InvocationRun
from lambent.environment.limits import MIB_PER_VCPU, decide_init_limits, decide_limits
from lambent.environment.output import ProgramOutput
from lambent.environment.pace import Paced
from lambent.environment.programs import LogOpener, StartedProgram
from lambent.environment.runtime_api import Exchange, RuntimeAnswer, RuntimeApi
from lambent.environment.stem_cells import CellLost, CellSource, NoCells, StemCell
from lambent.http.application import Application
from lambent.model.clock import Clock
from lambent.model.errors import HostError, TransitionError
from lambent.model.functions import PROVISIONED, FunctionVersion
from lambent.model.ids import EnvironmentId, SandboxId
from lambent.model.invocations import InitRecord, InvocationRecord, InvocationResult, InvokeCall, Status
from lambent.model.phases import Event, Phase, next_phase
from lambent.sandbox.driver import Sandbox, SandboxDriver, SandboxSpec

# Developer guide, "Lambda execution environment lifecycle": INIT may take 10 s on demand.
INIT_LIMIT_S: Final = 10.0
# Developer guide, the same: with provisioned concurrency up to 130 s, or the function's timeout if that is longer.
PROVISIONED_INIT_LIMIT_S: Final = 130.0
# A runtime that posted an init error logs and exits by itself; one that does not is helped after this time.
FAULT_GRACE_S: Final = 1.0
# Asking a sandbox what it used costs a trip to the launcher, and the launcher more than most invocations do. One that
# was shorter than this cannot have used much more than the last answer said, if that is no older than the second; what
# it did use is in the next answer, which is about the environment's life.
USAGE_MIN_DURATION_S: Final = 0.02
USAGE_MAX_AGE_S: Final = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentTools:
    """What all environments of a process share."""

    driver: SandboxDriver
    servers: ApiServers
    endpoint: Callable[[CredentialSession], Application]  # what is behind an environment's AWS endpoint
    assigner: Assigner
    open_log: LogOpener
    clock: Clock
    deadlines: Deadlines
    freezing: Freezing
    record: Callable[[InvocationRecord], None]
    cells: CellSource = field(default_factory=NoCells)


class ExecutionEnvironment:
    """One environment of one version. ``live`` runs in a task of its owner's; ``run`` takes one call at a time."""

    def __init__(self, version: FunctionVersion, environment_id: EnvironmentId, tools: EnvironmentTools) -> None:
        self.version = version
        self.environment_id = environment_id
        self.created_at = tools.clock.now()
        self.created_mono_s = tools.clock.mono_s()
        self.phase = Phase.CELL
        self._tools = tools
        self._clock = tools.clock
        self._log = tools.open_log(version, environment_id, self.created_at)
        self._api = RuntimeApi(self)
        self._timer = tools.deadlines.timer(self._time_is_up)
        self._repose = Repose(tools.freezing)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake: asyncio.Future[None] | None = None
        self._run: InvocationRun | None = None
        self._settled_callbacks: list[Callable[[], None]] = []
        self._cell: StemCell | None = None  # whose program has not become the function's yet
        self._program: StartedProgram | None = None
        self._init_duration_ms: float | None = None
        self._init_answer: RuntimeAnswer | None = None
        self._entry_fault: str | None = None
        self._is_runtime_ready = False  # asked for `next` since the last event
        self._ready_mono_s = 0.0
        self.peak_mib = 0  # the most of memory of its own that was seen so far
        self._shown_mib = 0  # and with what it has mapped of files
        self._usage_mono_s = -USAGE_MAX_AGE_S
        self._is_late = False
        self._is_conducting = False  # the owner sees to the run
        self._is_retiring = False
        self._usable_limits = decide_limits(version)

    # --- for its pool and its callers

    @property
    def is_settled(self) -> bool:
        """Whether no invocation is in it."""
        return self._run is None

    @property
    def is_usable(self) -> bool:
        """Whether it can take a call now."""
        return (
            self._run is None and not self._is_retiring and (self.phase is Phase.IDLE or self.phase is Phase.RESETTING)
        )

    @property
    def is_frozen(self) -> bool:
        """Whether its processes stand until the next call."""
        return self._repose.is_frozen

    @property
    def held_mib(self) -> int:
        """What memory it is known to hold: as it was frozen last, or else the most that was seen."""
        held = self._repose.held_memory_bytes
        return self.peak_mib if held is None else held >> 20

    @property
    def is_provisioned(self) -> bool:
        """Whether it was made ahead, for calls to come."""
        return self.version.initialization_type == PROVISIONED

    @property
    def _init_limit_s(self) -> float:
        return max(PROVISIONED_INIT_LIMIT_S, self.version.timeout_s) if self.is_provisioned else INIT_LIMIT_S

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the invocation in it is over, in its log too. There must be one in it."""
        self._settled_callbacks.append(callback)

    async def ready(self) -> None:
        """Return when its first INIT is over, well or not. HostError if it could not be made."""
        await asyncio.shield(self._ready)

    async def run(self, call: InvokeCall) -> InvocationResult:
        """Run ``call`` and return its outcome: as soon as the runtime posted it, or after REPORT if the tail is wanted.

        HostError if this host failed. Cancelling it loses the answer; the function runs on.
        """
        result: asyncio.Future[InvocationResult] = asyncio.get_running_loop().create_future()

        def done(outcome: InvocationResult | HostError) -> None:
            if result.done():  # the caller left
                return
            if isinstance(outcome, HostError):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)

        self.begin(call, done)
        return await result

    def begin(self, call: InvokeCall, done: Done) -> None:
        """Run ``call``, as ``run`` does, and have ``done`` called with its outcome. It must not raise."""
        if not self.is_usable:
            raise TransitionError(f"invoke in phase {self.phase}")
        clock = self._clock
        run = InvocationRun(call, clock.now(), clock.mono_s(), done)
        self._run = run
        self._is_late = False
        self._timer.set(run.started_mono_s + self.version.timeout_s)
        if self.phase is Phase.IDLE and self._program is not None and self._program.ended is None:
            self._dispatch(run)
        else:
            self._notify()

    def retire(self) -> None:
        """End it as soon as no invocation is in it."""
        self._is_retiring = True
        self._notify()

    # --- the owner's task

    async def live(self) -> None:
        """Be made, serve, and end; returns when nothing of it is left. Never raises but for cancellation."""
        try:
            async with AsyncExitStack() as stack:
                self._move(Event.ASSIGN)
                assignment = await stack.enter_async_context(
                    self._tools.assigner.open_assignment(self.version, self.environment_id, self.created_at)
                )
                sandbox = await self._open_sandbox(stack)
                await stack.enter_async_context(self._open_endpoint(assignment, sandbox))
                stack.push_async_callback(self._end_program)
                self._move(Event.CODE_READY)
                await self._initialise(assignment, sandbox, "init")
                self._ready.set_result(None)
                await self._limit_cpu(sandbox)
                await self._serve(assignment, sandbox)
                self._move(Event.RETIRE)
        except Exception as error:  # the edge of one unit of work: this environment ends, its call fails
            if not isinstance(error, HostError):
                log.exception("environment_failed", environment_id=self.environment_id)
            else:
                log.warning("environment_failed", environment_id=self.environment_id, reason=str(error))
            self._fail(error if isinstance(error, HostError) else HostError(f"environment failed: {error}"))
        finally:
            self._timer.clear()
            self._move(Event.DIED)
            self._fail(HostError("the environment was ended"))

    def _open_endpoint(self, assignment: Assignment, sandbox: Sandbox) -> AbstractAsyncContextManager[None]:
        application = Paced(self._tools.endpoint(assignment.session), self._clock)
        return self._tools.servers.open_server(application, sandbox.endpoint_listener, ENDPOINT_LIMITS)

    async def _open_sandbox(self, stack: AsyncExitStack) -> Sandbox:
        """Return a sandbox with its Runtime API: one that is prepared, or else a new one."""
        spec = self._spec()
        self._cell = cell = await self._tools.cells.take(self.version)
        if cell is not None:
            await stack.enter_async_context(cell)
            sandbox, self._api = cell.sandbox, cell.hand_over(self)
        else:
            sandbox = await stack.enter_async_context(self._tools.driver.open_sandbox(spec))
            await stack.enter_async_context(self._tools.servers.open_server(self._api, sandbox.listener))
        if not _is_unsupported("freeze", self._tools.driver, spec):
            self._repose.use(sandbox)
        return sandbox

    async def _serve(self, assignment: Assignment, sandbox: Sandbox) -> None:
        while True:
            if (run := self._run) is not None:
                self._is_conducting = True
                await self._conduct(run, assignment, sandbox)
                self._is_conducting = False
            elif self._is_retiring:
                return
            elif self.phase is Phase.IDLE and self._program is not None and self._program.ended is not None:
                await self._end_program()
                self._move(Event.FAULT)
            else:
                await self._sleep()

    async def _conduct(self, run: InvocationRun, assignment: Assignment, sandbox: Sandbox) -> None:
        """See ``run`` through to its record; a program that is not there is started first, inside the invocation."""
        while True:
            if self.phase is not Phase.BUSY:
                if self.phase is Phase.IDLE:  # it died between two invocations, and the call was first to notice
                    await self._end_program()
                    self._move(Event.FAULT)
                self._move(Event.INVOKE)
                if not await self._initialise(assignment, sandbox, "invoke"):
                    self._start_log(run)
                    await self._finish(run, sandbox)
                    return
                if self._program is None or self._program.ended is not None:
                    continue
                self._dispatch(run)
            while not (self._is_runtime_ready or self._is_late or self._has_ended()):
                await self._sleep()
            if self._is_runtime_ready or self._is_late or self._api.is_delivered or run.answer is not None:
                await self._finish(run, sandbox)
                return
            # The program was dying when the event came, and never saw it.
            self._api.abandon()
            await self._end_program()
            self._move(Event.FAULT)

    async def _finish(self, run: InvocationRun, sandbox: Sandbox) -> None:
        """Write the end of ``run``, give its caller what he has not, and be free again or reset."""
        self._timer.clear()
        if self._is_usage_wanted(run):
            # Over the environment's life: what a dead program used is not counted by everybody.
            usage = await sandbox.usage()
            self.peak_mib = max(self.peak_mib, usage.peak_memory_mib)
            # AWS's figure is of a machine of its own, whose page cache nobody shares.
            self._shown_mib = max(self._shown_mib, usage.peak_memory_mib + usage.resident_file_mib)
            self._usage_mono_s = self._clock.mono_s()
        if self.phase is Phase.BUSY and self._is_runtime_ready:
            self._conclude(run)
            return
        max_memory_mib = self._shown_mib
        if self._program is not None and self._program.ended is not None and self._program.ended.out_of_memory:
            max_memory_mib = self.version.memory_mib
        status, crash_type = await self._crash(run)
        self._settle_with(run, self._clock.mono_s(), max_memory_mib, status=status, crash_type=crash_type)

    def _conclude(self, run: InvocationRun) -> None:
        """End a run whose runtime asked for the next event."""
        self._timer.clear()
        if self._program is not None:
            self._program.output.drain()
        self._settle_with(run, self._ready_mono_s, self._shown_mib)

    def _settle_with(
        self,
        run: InvocationRun,
        ended_mono_s: float,
        max_memory_mib: int,
        *,
        status: Status = Status.SUCCESS,
        crash_type: str | None = None,
    ) -> None:
        record = run.record(
            self.version,
            self.environment_id,
            ended_mono_s=ended_mono_s,
            init_duration_ms=self._init_duration_ms,
            max_memory_mib=max_memory_mib,
            status=status,
            crash_type=crash_type,
        )
        self._init_duration_ms = None
        self._log.invocation_ended(record)
        run.resolve(self.version, self._log.take_tail() if run.call.wants_log_tail else None)
        if self.phase is Phase.BUSY:
            self._move(Event.NEXT if status is Status.SUCCESS else Event.FAULT)
        self._settle()
        self._tools.record(record)

    def _is_usage_wanted(self, run: InvocationRun) -> bool:
        now_mono_s = self._clock.mono_s()
        return (
            now_mono_s - run.started_mono_s >= USAGE_MIN_DURATION_S
            or now_mono_s - self._usage_mono_s >= USAGE_MAX_AGE_S
        )

    async def _crash(self, run: InvocationRun) -> tuple[Status, str | None]:
        """End the program of a run that ended without `next`; return status and error type for the record."""
        self._api.abandon()
        ended = self._program.ended if self._program else None
        await self._end_program()
        request_id = run.call.request_id
        if self._is_late:
            payload = faults.render_timeout(request_id, self.version.timeout_s)
            answer, status, crash_type = RuntimeAnswer(payload, error_type=faults.TIMED_OUT), Status.TIMEOUT, None
        elif self._entry_fault is not None:
            crash_type, status = faults.INVALID_ENTRYPOINT, Status.ERROR
            payload = faults.render_fault(crash_type, self._entry_fault, request_id)
            answer = RuntimeAnswer(payload, error_type=crash_type)
        elif self._init_answer is not None and run.answer is None:
            answer, status, crash_type = self._init_answer, Status.ERROR, self._init_answer.error_type
        else:
            crash_type, message = faults.EXIT_ERROR, "Runtime exited without providing a reason"
            if ended is not None:
                crash_type, message = faults.exit_error_type(ended), faults.exit_message(ended)
            payload = faults.render_fault(crash_type, message, request_id)
            answer, status = RuntimeAnswer(payload, error_type=crash_type), Status.ERROR
        if run.answer is None:
            run.answer = answer
        return status, crash_type

    # --- INIT

    async def _initialise(self, assignment: Assignment, sandbox: Sandbox, init_phase: str) -> bool:
        """Run INIT; True if the runtime asked for `next`. In ``invoke`` the invocation's deadline is the limit."""
        start_mono_s = self._clock.mono_s()
        record = InitRecord(
            started_at=self._clock.now(),
            duration_ms=0.0,
            phase=init_phase,
            initialization_type=self.version.initialization_type,
            runtime_version=assignment.runtime.version,
            runtime_version_arn=assignment.runtime.version_arn(self.version.scope.region),
        )
        self._log.init_started(record)
        self._api.restart()
        self._is_runtime_ready, self._init_answer = False, None
        if init_phase == "init":
            self._is_late = False
            self._timer.set(start_mono_s + self._init_limit_s)
        self._entry_fault = assignment.entry_fault
        if self._entry_fault is None:
            self._program = await self._start_program(assignment, sandbox)
            await self._wait_for_init()
        status, error_type = await self._init_status()
        duration_ms = (self._clock.mono_s() - start_mono_s) * 1000
        is_well = status is Status.SUCCESS
        self._log.init_ended(replace(record, duration_ms=duration_ms, status=status, error_type=error_type))
        if init_phase == "init":
            self._timer.clear()
            self._is_late = False
            # What was initialised ahead is in nobody's invocation.
            self._init_duration_ms = duration_ms if is_well and not self.is_provisioned else None
        self._move(Event.NEXT if is_well else Event.FAULT)
        return is_well

    async def _start_program(self, assignment: Assignment, sandbox: Sandbox) -> StartedProgram:
        cell, self._cell = self._cell, None
        if cell is not None:
            try:
                return await cell.become(assignment, self._spec().limits, self._log, self._notify)
            except CellLost as error:
                log.warning("cell_lost", environment_id=self.environment_id, reason=str(error))
                await cell.end_program()
                await sandbox.set_limits(self._spec().limits)
        output = ProgramOutput(self._log, self._clock)
        return await StartedProgram.start(sandbox, assignment, output, self._notify)

    async def _wait_for_init(self) -> None:
        has_grace = False
        while not (self._is_runtime_ready or self._is_late or self._has_ended()):
            if self._init_answer is not None and not has_grace:
                has_grace = True
                grace_mono_s = self._clock.mono_s() + FAULT_GRACE_S
                self._timer.set(min(grace_mono_s, self._timer.due_mono_s or grace_mono_s))
            await self._sleep()

    async def _init_status(self) -> tuple[Status, str | None]:
        program = self._program
        if self._entry_fault is not None or program is None:
            return Status.ERROR, faults.INVALID_ENTRYPOINT
        if self._is_runtime_ready:
            program.output.drain()
            return Status.SUCCESS, None
        ended = program.ended
        if self._run is None or not self._is_late:  # else the invocation's end does it, and keeps what is known
            await self._end_program(keep_ended=True)
        if self._init_answer is not None:
            self._is_late = False  # the grace ran out, not the limit
            return Status.ERROR, self._init_answer.error_type
        if ended is not None:
            return Status.ERROR, faults.exit_error_type(ended)
        return Status.TIMEOUT, None

    def _spec(self) -> SandboxSpec:
        version = self.version
        sandbox_id = SandboxId(f"env-{self.environment_id}")
        spec = SandboxSpec(sandbox_id=sandbox_id, limits=self._usable_limits, egress=version.egress)
        limits = decide_init_limits(spec.limits, self._tools.driver.unsupported(spec))
        if limits.cpu_share is not None:
            self._usable_limits = replace(limits, cpu_share=version.memory_mib / MIB_PER_VCPU)
        return replace(spec, limits=limits)

    async def _limit_cpu(self, sandbox: Sandbox) -> None:
        if self._usable_limits.cpu_share is not None:
            await sandbox.set_limits(self._usable_limits)

    async def _end_program(self, *, keep_ended: bool = False) -> None:
        """Kill what runs, at once as AWS does where there is no extension, and take the rest of its output."""
        program = self._program
        if program is not None:
            await program.end()
            if not keep_ended:
                self._program = None

    # --- RuntimeObserver

    def runtime_ready(self) -> None:
        """The runtime asked for `next`."""
        self._is_runtime_ready = True
        self._ready_mono_s = self._clock.mono_s()
        run = self._run
        if run is None or self._is_conducting or self._is_late or self._has_ended() or self._is_usage_wanted(run):
            self._notify()
        else:
            self._conclude(run)  # as nearly always: the owner sleeps on

    def init_failed(self, answer: RuntimeAnswer) -> None:
        """The runtime posted an error of its initialisation."""
        self._init_answer = answer
        self._notify()

    def response_started(self, exchange: Exchange) -> None:
        """The first byte of the answer is here."""
        if self._run is not None:
            self._run.response_mono_s = self._clock.mono_s()

    def answered(self, exchange: Exchange, answer: RuntimeAnswer) -> None:
        """The answer is here: give it to the caller, unless he waits for the log."""
        if (run := self._run) is None:
            return
        run.answer = answer
        run.answered_mono_s = self._clock.mono_s()
        if run.response_mono_s is None:
            run.response_mono_s = run.answered_mono_s
        if not run.call.wants_log_tail:
            run.resolve(self.version)

    # --- word left for the owner

    def _dispatch(self, run: InvocationRun) -> None:
        self._move(Event.INVOKE)
        self._start_log(run)
        self._is_runtime_ready = False
        self._api.open(run.exchange(self.version))

    def _start_log(self, run: InvocationRun) -> None:
        if not run.has_started:
            run.has_started = True
            self._log.invocation_started(
                run.call.request_id, self.version.version, run.started_at, wants_tail=run.call.wants_log_tail
            )

    def _has_ended(self) -> bool:
        return self._program is None or self._program.ended is not None

    def _time_is_up(self) -> None:
        self._is_late = True
        self._notify()

    def _notify(self) -> None:
        if (wake := self._wake) is not None:
            self._wake = None
            if not wake.done():
                wake.set_result(None)

    async def _sleep(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake

    def _move(self, event: Event) -> None:
        before, self.phase = self.phase, next_phase(self.phase, event)
        if self.phase is Phase.IDLE:
            self._repose.begin()
        elif before is Phase.IDLE:
            self._repose.end()

    def _settle(self) -> None:
        self._run = None
        callbacks, self._settled_callbacks = self._settled_callbacks, []
        for callback in callbacks:
            callback()

    def _fail(self, error: HostError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # nobody may be waiting any more
        if self._run is not None:
            self._run.fail(error)
            self._settle()


def _is_unsupported(setting: str, driver: SandboxDriver, spec: SandboxSpec) -> bool:
    return any(refusal.setting == setting for refusal in driver.unsupported(spec))
