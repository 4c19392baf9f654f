"""All environments of a process: who is idle, who is asked next, who is started, who is ended when.

The one door to capacity: ``take``. One timer serves all idle environments, which stand in the order of becoming idle.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final, TypeVar
from uuid import uuid4

import structlog

from lambent.environment.environment import EnvironmentTools, ExecutionEnvironment
from lambent.environment.placement import Placement, PoolLimits, decide_placement
from lambent.environment.room import Evictable, HostRoom, RoomLimits, Shortage, decide_eviction
from lambent.model.errors import HostError, Throttled, ThrottleReason
from lambent.model.functions import FunctionVersion
from lambent.model.ids import EnvironmentId, FunctionArn
from lambent.model.invocations import InvokeCall
from lambent.model.phases import Phase
from lambent.model.rates import Bucket
from lambent.sandbox.host_memory import MemoryReading

# How often the host is asked whether it runs out of memory, while there are environments: one file or two, whatever
# their number.
RELIEF_INTERVAL_S: Final = 1.0

log = structlog.get_logger(__name__)

_T = TypeVar("_T")
_PoolKey = tuple[FunctionArn, int, str | None]  # version ARN, generation, tenant


class InitFailed(HostError):
    """An environment that was made ahead of calls could not be initialised: the function's own doing."""


class Pool:
    """The environments of one snapshot of one version (and of one tenant); or those made ahead for it."""

    __slots__ = ("idle", "is_open", "is_outdated", "key", "seen_mib", "settling", "size", "waiters", "watchers")

    def __init__(self, key: _PoolKey) -> None:
        self.key = key
        self.idle: list[ExecutionEnvironment] = []  # used last: at the end
        self.seen_mib = 0  # the most that one of them used
        self.settling = 0
        self.size = 0
        self.waiters: deque[asyncio.Future[ExecutionEnvironment | None]] = deque()
        self.watchers: list[asyncio.Future[bool]] = []
        self.is_outdated = False
        self.is_open = False  # of those made ahead: all were there once, and calls go to them


class Environments:
    """Every execution environment of this process; an async context manager that drains on leaving."""

    def __init__(
        self,
        tools: EnvironmentTools,
        limits: PoolLimits,
        new_id: Callable[[], EnvironmentId] = lambda: EnvironmentId(uuid4().hex),
        read_memory: Callable[[], MemoryReading] = MemoryReading,
    ) -> None:
        self._tools = tools
        self._limits = limits
        self._new_id = new_id
        self._pools: dict[_PoolKey, Pool] = {}
        self._ahead: dict[_PoolKey, Pool] = {}  # what is provisioned: neither reaped nor evicted
        self._paces: dict[FunctionArn, Bucket] = {}
        self.on_provisioned_ended: Callable[[], None] = lambda: None
        self._idle: dict[ExecutionEnvironment, tuple[Pool, float]] = {}  # oldest first; since when
        self._tasks: dict[ExecutionEnvironment, asyncio.Task[None]] = {}
        bounds = RoomLimits(
            max_environments=limits.max_environments,
            memory_budget_mib=limits.memory_budget_mib,
            memory_reserve_mib=limits.memory_reserve_mib,
        )
        self._room = HostRoom(bounds, read_memory)
        self._relief = tools.deadlines.timer(self._relieve)
        self._starting = 0
        self._reaper = tools.deadlines.timer(self._reap)
        self._graces: deque[tuple[float, Callable[[], None]]] = deque()
        self._grace_timer = tools.deadlines.timer(self._end_graces)
        self._loops: list[asyncio.Task[None]] = []
        self._is_closing = False

    @property
    def count(self) -> int:
        """How many environments there are, in whatever phase."""
        return len(self._tasks)

    @property
    def idle_count(self) -> int:
        """How many wait for a call."""
        return len(self._idle)

    @property
    def starting(self) -> int:
        """How many are being started for a call that waits."""
        return self._starting

    @property
    def reserved_mib(self) -> int:
        """What they are expected to use together."""
        return self._room.reserved_mib

    async def __aenter__(self) -> "Environments":
        loop = asyncio.get_running_loop()
        self._loops.append(loop.create_task(self._tools.deadlines.run(), name="deadlines"))
        self._loops.append(loop.create_task(self._tools.freezing.run(), name="freezing"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take no more calls, let those that run end for ``drain_s`` at most, end everything."""
        self._is_closing = True
        for environment in self._tasks:
            environment.retire()
        if self._tasks:
            limit = asyncio.get_running_loop().create_task(self._tools.clock.sleep_s(self._limits.drain_s))
            ended = asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await asyncio.wait((limit, ended), return_when=asyncio.FIRST_COMPLETED)
            limit.cancel()
            for task in tuple(self._tasks.values()):
                task.cancel()
            await asyncio.gather(ended, return_exceptions=True)
        for each in self._loops:
            each.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    def take(self, version: FunctionVersion, call: InvokeCall) -> "Taking":
        """Yield an environment of ``version`` for ``call`` alone; on leaving it is free again once it is settled.

        HostError if none could be made; Throttled if this host has no room and nothing idle to end.
        """
        return Taking(self, version, call.tenant_id if version.tenant_isolation else None)

    async def settled_soon(self, version: FunctionVersion, call: InvokeCall) -> bool:
        """Whether an invocation of ``version`` that has its answer already came to its end within the grace."""
        pool = self._pools.get((version.arn, version.generation, call.tenant_id if version.tenant_isolation else None))
        if pool is None or not pool.settling:
            return False
        watcher: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        pool.watchers.append(watcher)
        return await self._within_grace(watcher, otherwise=False)

    def retire_outdated(self, arn: FunctionArn, generation: int | None) -> None:
        """End the environments of version ``arn`` that are not of ``generation``; None: of every generation."""
        for key in [key for key in self._pools if key[0] == arn and key[1] != generation]:
            pool = self._pools.pop(key)
            pool.is_outdated = True
            for environment in tuple(pool.idle):
                self._retire_idle(environment)
        for key in [key for key in self._ahead if key[0] == arn and key[1] != generation]:
            self._close_ahead(self._ahead.pop(key))
        self._room.forget(arn, generation)

    # --- made ahead

    def is_provisioned(self, version: FunctionVersion) -> bool:
        """Whether calls of ``version`` go to environments that were made ahead."""
        pool = self._ahead.get((version.arn, version.generation, None))
        return pool is not None and pool.is_open

    def take_provisioned_now(self, version: FunctionVersion) -> tuple[ExecutionEnvironment, Pool] | None:
        """Return one that was made ahead and waits for a call, and the pool to give it back to."""
        pool = self._ahead.get((version.arn, version.generation, None))
        while pool is not None and pool.is_open and pool.idle:
            if (environment := pool.idle.pop()).phase is Phase.IDLE:
                return environment, pool
            environment.retire()  # its program ended between two calls
        return None

    async def take_provisioned(self, version: FunctionVersion) -> tuple[ExecutionEnvironment, Pool] | None:
        """Likewise, waiting for one that has answered and is about to be free; None: this call spills over."""
        give_up_mono_s = self._tools.clock.mono_s() + self._limits.ahead_grace_s
        while (taken := self.take_provisioned_now(version)) is None:
            pool = self._ahead.get((version.arn, version.generation, None))
            if pool is None or not pool.is_open or pool.settling <= len(pool.waiters):
                return None
            if (waited := await self._wait(pool)) is not None:
                return waited, pool
            if self._tools.clock.mono_s() >= give_up_mono_s:
                return None
        return taken

    async def add_provisioned(self, version: FunctionVersion) -> ExecutionEnvironment:
        """Make one ahead of calls; it is in its pool on return. HostError if it cannot be made; Throttled without room.

        InitFailed where its INIT went wrong: it is ended then.
        """
        key = (version.arn, version.generation, None)
        pool = self._ahead.get(key) or self._ahead.setdefault(key, Pool(key))
        while shortage := self._room.shortage(version):
            if not (victims := self._find_victims(shortage)):
                raise Throttled(ThrottleReason.CONCURRENT)
            await self._evict(victims)
        environment = await self._start(version, pool)
        if environment.phase is not Phase.IDLE:
            environment.retire()
            raise InitFailed(f"INIT of {version.arn} failed")
        self._free(environment, pool)
        return environment

    def open_provisioned(self, version: FunctionVersion) -> None:
        """Have calls go to those that were made ahead: all of them are there."""
        if (pool := self._ahead.get((version.arn, version.generation, None))) is not None:
            pool.is_open = True

    def retire_provisioned(self, environment: ExecutionEnvironment) -> None:
        """End one that was made ahead, once no invocation is in it."""
        version = environment.version
        if (pool := self._ahead.get((version.arn, version.generation, None))) is not None:
            _forget_ahead(environment, pool)
        environment.retire()

    def close_provisioned(self, version: FunctionVersion) -> None:
        """Send no more calls to those that were made ahead, and end them as they become free."""
        if (pool := self._ahead.pop((version.arn, version.generation, None), None)) is not None:
            self._close_ahead(pool)

    def _close_ahead(self, pool: Pool) -> None:
        pool.is_outdated = True
        for environment in tuple(pool.idle):
            _forget_ahead(environment, pool)
            environment.retire()

    # --- for Taking, and for who needs not wait

    async def place(self, version: FunctionVersion, tenant_id: str | None) -> tuple[ExecutionEnvironment, Pool]:
        """Return an environment for one call, and the pool to give it back to."""
        key = (version.arn, version.generation, tenant_id)
        may_wait = True
        while True:
            pool = self._pools.get(key) or self._pools.setdefault(key, Pool(key))
            shortage = Shortage() if pool.idle else self._room.shortage(version)
            victims = self._find_victims(shortage) if shortage else ()
            placement = decide_placement(
                idle=len(pool.idle),
                settling=pool.settling if may_wait else 0,
                waiting=len(pool.waiters),
                has_room=not shortage,
                can_evict=bool(victims),
            )
            if placement is Placement.REUSE:
                environment = pool.idle.pop()
                del self._idle[environment]
                return environment, pool
            if placement is Placement.START:
                self._require_pace(version)
                return await self._start(version, pool), pool
            if placement is Placement.WAIT:
                may_wait = False
                if (waited := await self._wait(pool)) is not None:
                    return waited, pool
            elif placement is Placement.EVICT:
                await self._evict(victims)
            else:
                log.warning(
                    "environments_exhausted",
                    environments=len(self._tasks),
                    reserved_mib=self.reserved_mib,
                    short_of_mib=shortage.memory_mib,
                )
                raise Throttled(ThrottleReason.CONCURRENT)

    def give_back(self, environment: ExecutionEnvironment, pool: Pool) -> None:
        """Have ``environment`` used again, if it may be; now, or once what runs in it is over."""
        if environment.is_settled:
            self._free(environment, pool)
        else:
            pool.settling += 1
            environment.when_settled(partial(self._settled, environment, pool))

    # --- inside

    def _settled(self, environment: ExecutionEnvironment, pool: Pool) -> None:
        pool.settling -= 1
        watchers, pool.watchers = pool.watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(True)
        self._free(environment, pool)

    def _free(self, environment: ExecutionEnvironment, pool: Pool) -> None:
        if environment.phase is Phase.GONE:
            return
        if environment.peak_mib > pool.seen_mib:
            pool.seen_mib = environment.peak_mib
            self._room.learn(environment.version, pool.seen_mib)
        now_mono_s = self._tools.clock.mono_s()
        if environment.is_provisioned:
            # Its keeper replaces it: when it is old, before it ends; after a fault, ahead of the next call.
            must_end = environment.phase is not Phase.IDLE
        else:
            must_end = now_mono_s - environment.created_mono_s > self._limits.max_age_s
        if must_end or pool.is_outdated or self._is_closing or not environment.is_usable:
            environment.retire()
            return
        while pool.waiters:
            waiter = pool.waiters.popleft()
            if not waiter.done():
                waiter.set_result(environment)
                return
        pool.idle.append(environment)
        if environment.is_provisioned:
            return
        self._idle[environment] = (pool, now_mono_s)
        if self._reaper.due_mono_s is None:
            self._reaper.set(now_mono_s + self._limits.idle_s)

    async def _wait(self, pool: Pool) -> ExecutionEnvironment | None:
        waiter: asyncio.Future[ExecutionEnvironment | None] = asyncio.get_running_loop().create_future()
        pool.waiters.append(waiter)
        try:
            return await self._within_grace(waiter, otherwise=None)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (environment := waiter.result()) is not None:
                self._free(environment, pool)
            raise
        finally:
            if waiter in pool.waiters:
                pool.waiters.remove(waiter)

    async def _within_grace(self, waiter: asyncio.Future[_T], *, otherwise: _T) -> _T:
        """Return what ``waiter`` gets within the grace. One timer serves all: most waits are over in microseconds."""
        due_mono_s = self._tools.clock.mono_s() + self._limits.settle_grace_s

        def give_up() -> None:
            if not waiter.done():
                waiter.set_result(otherwise)

        self._graces.append((due_mono_s, give_up))
        if self._grace_timer.due_mono_s is None:
            self._grace_timer.set(due_mono_s)
        return await waiter

    def _end_graces(self) -> None:
        now_mono_s = self._tools.clock.mono_s()
        while self._graces and self._graces[0][0] <= now_mono_s:
            self._graces.popleft()[1]()
        if self._graces:
            self._grace_timer.set(self._graces[0][0])

    def _require_pace(self, version: FunctionVersion) -> None:
        """Raise Throttled where a function grows faster than it may."""
        arn, now_mono_s = version.unqualified_arn, self._tools.clock.mono_s()
        if (pace := self._paces.get(arn)) is None:
            pace = self._paces[arn] = Bucket(self._limits.starts_at_once, self._limits.starts_per_s, now_mono_s)
        if not pace.take(now_mono_s):
            raise Throttled(ThrottleReason.RATE)

    async def _start(self, version: FunctionVersion, pool: Pool) -> ExecutionEnvironment:
        if self._is_closing:
            raise HostError("the server is stopping")
        environment = ExecutionEnvironment(version, self._new_id(), self._tools)
        task = asyncio.get_running_loop().create_task(
            environment.live(), name=f"environment {environment.environment_id}"
        )
        self._tasks[environment] = task
        self._room.add(version)
        if self._relief.due_mono_s is None:
            self._relief.set(self._tools.clock.mono_s() + RELIEF_INTERVAL_S)
        pool.size += 1
        task.add_done_callback(partial(self._ended, environment, pool))
        self._starting += 1
        try:
            await environment.ready()
        except asyncio.CancelledError:
            environment.retire()  # nobody is there to use it
            raise
        finally:
            self._starting -= 1
        return environment

    def _ended(self, environment: ExecutionEnvironment, pool: Pool, task: asyncio.Task[None]) -> None:
        del self._tasks[environment]
        self._room.remove(environment.version)
        pool.size -= 1
        self._forget_idle(environment)
        if environment.is_provisioned:
            _forget_ahead(environment, pool)
            self.on_provisioned_ended()
        if not pool.size and not pool.waiters and self._pools.get(pool.key) is pool:
            del self._pools[pool.key]

    def _find_victims(self, shortage: Shortage) -> Sequence[ExecutionEnvironment]:
        """Return the idle ones whose end makes up for ``shortage``; none where they are not enough."""
        environments = tuple(self._idle)
        reservation = self._room.reservation_mib
        if len(environments) < shortage.environments:
            return ()
        if sum(reservation(each.version) for each in environments) < shortage.memory_mib:
            return ()
        idle = [self._evictable(each, reservation(each.version)) for each in environments]
        return [environments[at] for at in decide_eviction(idle, shortage)]

    def _evictable(self, environment: ExecutionEnvironment, frees_mib: int) -> Evictable:
        idle_s = self._tools.clock.mono_s() - self._idle[environment][1]
        return Evictable(idle_s=idle_s, held_mib=environment.held_mib, frees_mib=frees_mib)

    async def _evict(self, victims: Sequence[ExecutionEnvironment]) -> None:
        ends = [self._tasks[each] for each in victims]
        for each in victims:
            self._retire_idle(each)
        await asyncio.wait(ends)

    def _relieve(self) -> None:
        """End idle ones while the host runs out of memory."""
        if not self._tasks:
            return
        self._relief.set(self._tools.clock.mono_s() + RELIEF_INTERVAL_S)
        if self._idle and (missing_mib := self._room.relief_mib()):
            environments = tuple(self._idle)
            idle = [self._evictable(each, each.held_mib) for each in environments]
            victims = [environments[at] for at in decide_eviction(idle, Shortage(memory_mib=missing_mib))]
            log.warning("memory_is_short", missing_mib=missing_mib, environments_ended=len(victims))
            for each in victims:
                self._retire_idle(each)

    def _retire_idle(self, environment: ExecutionEnvironment) -> None:
        self._forget_idle(environment)
        environment.retire()

    def _forget_idle(self, environment: ExecutionEnvironment) -> None:
        if (place := self._idle.pop(environment, None)) is not None:
            place[0].idle.remove(environment)

    def _reap(self) -> None:
        now_mono_s = self._tools.clock.mono_s()
        while self._idle:
            environment, (_, since_mono_s) = next(iter(self._idle.items()))
            if since_mono_s + self._limits.idle_s > now_mono_s:
                self._reaper.set(since_mono_s + self._limits.idle_s)
                return
            self._retire_idle(environment)


def _forget_ahead(environment: ExecutionEnvironment, pool: Pool) -> None:
    with suppress(ValueError):
        pool.idle.remove(environment)


class Taking:
    """``async with`` of one environment for one call."""

    __slots__ = ("_environment", "_environments", "_pool", "_tenant_id", "_version")

    def __init__(self, environments: Environments, version: FunctionVersion, tenant_id: str | None) -> None:
        self._environments = environments
        self._version = version
        self._tenant_id = tenant_id
        self._environment: ExecutionEnvironment | None = None
        self._pool: Pool | None = None

    async def __aenter__(self) -> ExecutionEnvironment:
        self._environment, self._pool = await self._environments.place(self._version, self._tenant_id)
        return self._environment

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._environment is not None and self._pool is not None:
            self._environments.give_back(self._environment, self._pool)
