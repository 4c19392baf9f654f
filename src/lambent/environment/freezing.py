"""Between two invocations an environment stands still: frozen when it was idle for a grace, thawed when it gets a call.

Whether it is frozen is no phase of its own: a frozen environment takes part in everything that an idle one does, and
the first thing that any of it does is to thaw. ``Repose`` keeps this for one environment; one scan serves all of them,
so that a call costs two assignments, and an environment that is frozen costs nothing.
"""

import asyncio
from typing import Final, Protocol

import structlog

from lambent.model.clock import Clock
from lambent.model.errors import HostError

# Freezing and thawing cost two system calls and, on cgroup v1, some 0.3 ms of the function's time: not between the
# calls of a busy caller.
DEFAULT_GRACE_S: Final = 0.01
# One that is thawed sooner than this is in use: it gets twice the grace each time, so that on a busy host, where every
# gap is longer than a grace, calls do not pay for a freeze and a thaw each. One that stood for longer starts over.
SHORT_STAND_S: Final = 0.1
MOST_LOOKS: Final = 16

log = structlog.get_logger(__name__)


class Freezable(Protocol):
    """What of a sandbox is needed here."""

    def freeze(self) -> None:
        """Order every process to stand."""
        ...

    def thaw(self) -> None:
        """Let them go on."""
        ...

    def held_memory_bytes(self) -> int | None:
        """Return what memory its end would free."""
        ...


class Freezing:
    """Freezes environments that were idle for ``grace_s``, and for less than twice that; ``grace_s`` 0: none ever.

    ``run`` belongs to the owner's task group.
    """

    def __init__(self, clock: Clock, grace_s: float = DEFAULT_GRACE_S) -> None:
        self._clock = clock
        self._grace_s = grace_s
        self._watched: list[Repose] = []
        self._wake: asyncio.Future[None] | None = None

    def mono_s(self) -> float:
        """Return the clock's time."""
        return self._clock.mono_s()

    @property
    def is_on(self) -> bool:
        """Whether anything is ever frozen."""
        return self._grace_s > 0

    def watch(self, repose: "Repose") -> None:
        """Freeze ``repose`` when it was idle for the grace; forget it when it is frozen or busy."""
        self._watched.append(repose)
        if (wake := self._wake) is not None:
            self._wake = None
            if not wake.done():
                wake.set_result(None)

    async def run(self) -> None:
        """Look each grace at who is watched, and sleep while nobody is; until cancelled."""
        # Under load this wakes a hundred times a second: a sleep of its own costs a fraction of a shared timer.
        loop = asyncio.get_running_loop()
        try:
            while True:
                if not self._watched:
                    self._wake = loop.create_future()
                    await self._wake
                await self._clock.sleep_s(self._grace_s)
                watched, self._watched = self._watched, []
                self._watched += filter(_stays_watched, watched)
        finally:
            self._wake = None


def decide_looks(looks: int, stood_s: float) -> int:
    """Return how often one has to be found idle before it is frozen again, which stood for ``stood_s`` this time."""
    return min(looks * 2, MOST_LOOKS) if stood_s < SHORT_STAND_S else 1


class Repose:
    """Whether the processes of one environment stand. Its owner says when it becomes idle, and when that ends."""

    __slots__ = (
        "_freezing",
        "_frozen_mono_s",
        "_is_idle",
        "_is_watched",
        "_looks",
        "_sandbox",
        "_wanted_looks",
        "held_memory_bytes",
        "is_frozen",
    )

    def __init__(self, freezing: Freezing) -> None:
        self._freezing = freezing
        self._sandbox: Freezable | None = None
        self._is_idle = False
        self._looks = 0  # how often in a row it was found idle
        self._wanted_looks = 1  # before the one at which it is frozen
        self._frozen_mono_s = 0.0
        self._is_watched = False
        self.is_frozen = False
        self.held_memory_bytes: int | None = None  # when it was frozen last; frozen, it cannot change

    def use(self, sandbox: Freezable) -> None:
        """Freeze ``sandbox`` from now on. Not to be called where the host has no freezer."""
        if self._freezing.is_on:
            self._sandbox = sandbox

    def begin(self) -> None:
        """It is idle: the runtime, and whoever else is in it, asked for the next event."""
        self._is_idle = True
        if not self._is_watched and self._sandbox is not None:
            self._is_watched = True
            self._freezing.watch(self)

    def end(self) -> None:
        """Something is about to happen in it: it is not frozen when this returns."""
        self._is_idle = False
        self._looks = 0
        if self.is_frozen and self._sandbox is not None:
            self.is_frozen = False
            self._wanted_looks = decide_looks(self._wanted_looks, self._freezing.mono_s() - self._frozen_mono_s)
            try:
                self._sandbox.thaw()
            except HostError as error:  # what waits for it will be ended by its deadline
                log.error("thaw_failed", reason=str(error))

    def stays_watched(self) -> bool:
        """Take note that a grace is over; False once nothing is to be watched: it is frozen, or was used."""
        if self._is_idle and self._looks < self._wanted_looks:
            self._looks += 1
            return True
        self._is_watched = False
        if self._is_idle:
            self._freeze()
        return False

    def _freeze(self) -> None:
        if self._sandbox is None:
            return
        try:
            self._sandbox.freeze()
        except HostError as error:
            log.warning("freeze_failed", reason=str(error))
            return
        self.is_frozen = True
        self._frozen_mono_s = self._freezing.mono_s()
        self.held_memory_bytes = self._sandbox.held_memory_bytes()


def _stays_watched(repose: Repose) -> bool:
    try:
        return repose.stays_watched()
    except Exception:  # the edge of one unit of work: the others are to be frozen all the same
        log.exception("freezing_failed")
        return False
