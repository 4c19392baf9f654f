"""Keeps environments ahead of calls: as many as were asked for, initialised, replaced when they fail or are old."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from lambent.environment.environment import ExecutionEnvironment
from lambent.environment.environments import Environments, InitFailed
from lambent.model.clock import Clock
from lambent.model.errors import HostError, Throttled
from lambent.model.functions import PROVISIONED, FunctionVersion
from lambent.model.ids import FunctionArn
from lambent.model.phases import Phase

# Recorded from AWS (2026-02): StatusReason where INIT raises.
INIT_FAILURE: Final = "FUNCTION_ERROR_INIT_FAILURE"
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_AT_ONCE: Final = 4  # being initialised at a time, of one version
_LOOK_EVERY_S: Final = 10.0  # whether a program ended between two calls

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is for one version: initialised environments, whether calls go to them, why there are no more."""

    ready: int = 0
    is_open: bool = False
    failure: str | None = None


class _Keeping:
    """One version: how many are wanted, which are there."""

    def __init__(self, version: FunctionVersion) -> None:
        self.version = version
        self.wanted = 0
        self.members: list[ExecutionEnvironment] = []
        self.is_open = False
        self.failure: str | None = None
        self.task: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()

    def forget_dead(self) -> None:
        self.members = [each for each in self.members if each.phase in (Phase.IDLE, Phase.BUSY)]


class ProvisionedKeeper:
    """Makes, replaces and ends environments so that there are as many as ``keep`` was told last.

    ``on_change`` hears that ``find`` may say something else. ``run`` belongs into the assembly's task group.
    """

    def __init__(self, environments: Environments, clock: Clock, *, max_age_s: float) -> None:
        self._environments = environments
        self._clock = clock
        self._max_age_s = max_age_s
        self._keepings: dict[FunctionArn, _Keeping] = {}
        self._leaving: list[_Keeping] = []
        self._woken = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None
        environments.on_provisioned_ended = self._wake_all

    def keep(self, wanted: Mapping[FunctionArn, tuple[FunctionVersion, int]]) -> None:
        """Have so many environments of each version from now on, and none of any other."""
        for arn, keeping in tuple(self._keepings.items()):
            if arn not in wanted or wanted[arn][0].generation != keeping.version.generation:
                self._leaving.append(self._keepings.pop(arn))
        for arn, (version, count) in wanted.items():
            if arn not in self._keepings:
                self._keepings[arn] = _Keeping(replace(version, initialization_type=PROVISIONED))
            keeping = self._keepings[arn]
            if keeping.wanted != count:
                keeping.wanted = count
                keeping.changed.set()
        self._woken.set()

    def find(self, arn: FunctionArn) -> Kept:
        """Return what there is for a version now."""
        if (keeping := self._keepings.get(arn)) is None:
            return Kept()
        keeping.forget_dead()
        return Kept(len(keeping.members), keeping.is_open, keeping.failure)

    async def run(self) -> None:
        """Do it, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._woken.wait()
                self._woken.clear()
                for keeping in self._leaving:
                    self._leave(keeping)
                self._leaving.clear()
                for keeping in self._keepings.values():
                    if keeping.task is None:
                        name = f"provision {keeping.version.arn}"
                        keeping.task = group.create_task(self._follow(keeping), name=name)

    def _leave(self, keeping: _Keeping) -> None:
        if keeping.task is not None:
            keeping.task.cancel()
        self._environments.close_provisioned(keeping.version)

    def _wake_all(self) -> None:
        for keeping in self._keepings.values():
            keeping.changed.set()

    async def _follow(self, keeping: _Keeping) -> None:
        """See to one version for ever: fill, trim, replace what is old."""
        pause_s = _FIRST_PAUSE_S
        while True:
            keeping.changed.clear()
            keeping.forget_dead()
            self._trim(keeping)
            if len(keeping.members) < keeping.wanted:
                if await self._fill(keeping):
                    pause_s = _FIRST_PAUSE_S
                    continue
                await self._clock.sleep_s(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            if not keeping.is_open or keeping.failure is not None:
                keeping.is_open, keeping.failure = True, None
                self._environments.open_provisioned(keeping.version)
            self.on_change()
            await self._rest(keeping)

    async def _rest(self, keeping: _Keeping) -> None:
        """Wait for a change, or until the oldest has to be replaced; then have a younger one first."""
        oldest = min(keeping.members, key=lambda each: each.created_mono_s)
        left_s = oldest.created_mono_s + self._max_age_s - self._clock.mono_s()
        if left_s > 0:
            changed = asyncio.ensure_future(keeping.changed.wait())
            aged = asyncio.ensure_future(self._clock.sleep_s(min(left_s, _LOOK_EVERY_S)))
            try:
                await asyncio.wait((changed, aged), return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
                aged.cancel()
            return
        if await self._add(keeping):
            keeping.members.remove(oldest)
            self._environments.retire_provisioned(oldest)
        else:
            await self._clock.sleep_s(_LONGEST_PAUSE_S)

    def _trim(self, keeping: _Keeping) -> None:
        while len(keeping.members) > keeping.wanted:
            self._environments.retire_provisioned(keeping.members.pop())

    async def _fill(self, keeping: _Keeping) -> bool:
        """Make some of what is missing; False if that failed."""
        count = min(_AT_ONCE, keeping.wanted - len(keeping.members))
        made = await asyncio.gather(*(self._add(keeping) for _ in range(count)))
        self.on_change()
        return all(made)

    async def _add(self, keeping: _Keeping) -> bool:
        try:
            environment = await self._environments.add_provisioned(keeping.version)
        except InitFailed:
            keeping.failure = INIT_FAILURE
        except Throttled:
            keeping.failure = "This host has no room for another environment"
        except HostError as error:
            keeping.failure = str(error)
        else:
            keeping.members.append(environment)
            return True
        log.warning("provisioning_failed", version_arn=keeping.version.arn, reason=keeping.failure)
        return False
