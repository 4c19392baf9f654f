"""Room on this host: what environments are expected to use, whether one more fits, and which idle ones give way.

A function's memory size is what it may use, and most use a fraction. So an environment reserves what those of its
version were seen to use at most, and some; before any was seen, a part of its memory size. And whatever was reserved,
nothing is started into memory that the host does not have. Everything is decided in ``decide_…``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lambent.model.functions import FunctionVersion
from lambent.model.ids import FunctionArn
from lambent.sandbox.host_memory import MemoryReading

# Of a version that no environment was seen of yet: a quarter of its memory size, but what small functions need whole.
UNSEEN_DIVISOR: Final = 4
UNSEEN_LEAST_MIB: Final = 128
# Beyond the most that was seen: a quarter more, and what the kernel keeps for a sandbox outside of its group.
HEADROOM_DIVISOR: Final = 4
OVERHEAD_MIB: Final = 8
# Linux, "PSI": tasks that waited for memory in the last ten seconds. Above this share the host is thrashing already.
STALLED_LIMIT_PERCENT: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How full a host is: environments there are, what they reserve together, what the kernel says is available."""

    environments: int
    reserved_mib: int
    available_mib: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """What must become free before one more environment fits."""

    environments: int = 0
    memory_mib: int = 0

    def __bool__(self) -> bool:
        """Whether anything is short."""
        return self.environments > 0 or self.memory_mib > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evictable:
    """An idle environment: for how long, what it is known to hold, and what its end makes free of what is short."""

    idle_s: float
    held_mib: int
    frees_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLimits:
    """The bounds of a host."""

    max_environments: int
    memory_budget_mib: int
    memory_reserve_mib: int  # stays available


def decide_reservation(memory_mib: int, peak_mib: int) -> int:
    """Return what one of ``memory_mib`` reserves whose version was seen to use ``peak_mib`` at most; 0: never seen."""
    if not peak_mib:
        return min(memory_mib, max(UNSEEN_LEAST_MIB, memory_mib // UNSEEN_DIVISOR))
    return min(memory_mib, peak_mib + peak_mib // HEADROOM_DIVISOR + OVERHEAD_MIB)


def decide_shortage(limits: RoomLimits, room: Room, wanted_mib: int) -> Shortage:
    """Return what is missing for an environment that reserves ``wanted_mib``."""
    # One alone may have all there is.
    booked_mib = min(wanted_mib, limits.memory_budget_mib)
    return Shortage(
        environments=max(0, room.environments + 1 - limits.max_environments),
        memory_mib=max(
            0,
            room.reserved_mib + booked_mib - limits.memory_budget_mib,
            limits.memory_reserve_mib + wanted_mib - room.available_mib,
        ),
    )


def decide_relief(limits: RoomLimits, reading: MemoryReading) -> int:
    """Return how much memory idle environments have to give back, as the host runs out of it; mostly 0."""
    missing_mib = max(0, limits.memory_reserve_mib - reading.available_mib)
    return max(missing_mib, 1) if reading.stalled_percent > STALLED_LIMIT_PERCENT else missing_mib


def decide_eviction(idle: Sequence[Evictable], shortage: Shortage) -> Sequence[int]:
    """Return which of ``idle`` end so that ``shortage`` is no more, by index; all of them where that is not enough.

    Short of memory: the largest product of memory and idle time first, so neither a small one that nobody asked for in
    a while nor a large one that was just used goes before a large one that nobody uses. Else: idle longest first.
    """
    if shortage.memory_mib:
        order = sorted(range(len(idle)), key=lambda at: -idle[at].held_mib * idle[at].idle_s)
    else:
        order = sorted(range(len(idle)), key=lambda at: -idle[at].idle_s)
    chosen: list[int] = []
    freed_mib = 0
    for at in order:
        if len(chosen) >= shortage.environments and freed_mib >= shortage.memory_mib:
            break
        chosen.append(at)
        freed_mib += idle[at].frees_mib
    return chosen


class _Kind:
    """The environments of one snapshot of one version."""

    __slots__ = ("count", "is_outdated", "peak_mib", "reserved_mib")

    def __init__(self, memory_mib: int) -> None:
        self.count = 0
        self.is_outdated = False
        self.peak_mib = 0
        self.reserved_mib = decide_reservation(memory_mib, 0)


class HostRoom:
    """The books of one host. What was seen of a version is remembered until the version is outdated."""

    def __init__(self, limits: RoomLimits, read_memory: Callable[[], MemoryReading]) -> None:
        self._limits = limits
        self._read_memory = read_memory
        self._kinds: dict[tuple[FunctionArn, int], _Kind] = {}
        self._environments = 0
        self._reserved_mib = 0

    @property
    def reserved_mib(self) -> int:
        """What all environments reserve together."""
        return self._reserved_mib

    def add(self, version: FunctionVersion) -> None:
        """One more environment of ``version``."""
        kind = self._kind(version)
        kind.count += 1
        self._environments += 1
        self._reserved_mib += kind.reserved_mib

    def remove(self, version: FunctionVersion) -> None:
        """One less."""
        kind = self._kind(version)
        kind.count -= 1
        self._environments -= 1
        self._reserved_mib -= kind.reserved_mib
        self._drop_if_unused((version.arn, version.generation))

    def learn(self, version: FunctionVersion, peak_mib: int) -> None:
        """One of ``version`` used ``peak_mib``: all of them reserve accordingly from now on."""
        kind = self._kind(version)
        if peak_mib > kind.peak_mib:
            kind.peak_mib = peak_mib
            before, kind.reserved_mib = kind.reserved_mib, decide_reservation(version.memory_mib, peak_mib)
            self._reserved_mib += (kind.reserved_mib - before) * kind.count

    def forget(self, arn: FunctionArn, generation: int | None) -> None:
        """Forget what was seen of version ``arn`` but for ``generation``, as soon as nothing of it is left."""
        for key in [key for key in self._kinds if key[0] == arn and key[1] != generation]:
            self._kinds[key].is_outdated = True
            self._drop_if_unused(key)

    def reservation_mib(self, version: FunctionVersion) -> int:
        """Return what each environment of ``version`` reserves."""
        return self._kind(version).reserved_mib

    def shortage(self, version: FunctionVersion) -> Shortage:
        """Return what must become free for one more environment of ``version``. Asks the kernel."""
        room = Room(
            environments=self._environments,
            reserved_mib=self._reserved_mib,
            available_mib=self._read_memory().available_mib,
        )
        return decide_shortage(self._limits, room, self.reservation_mib(version))

    def relief_mib(self) -> int:
        """Return how much memory idle environments have to give back now. Asks the kernel."""
        return decide_relief(self._limits, self._read_memory())

    def _drop_if_unused(self, key: tuple[FunctionArn, int]) -> None:
        if self._kinds[key].is_outdated and not self._kinds[key].count:
            del self._kinds[key]

    def _kind(self, version: FunctionVersion) -> _Kind:
        key = (version.arn, version.generation)
        if (kind := self._kinds.get(key)) is None:
            kind = self._kinds[key] = _Kind(version.memory_mib)
        return kind
