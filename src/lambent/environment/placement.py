"""Where a call runs: the pure decision."""

from dataclasses import dataclass
from enum import StrEnum


class Placement(StrEnum):
    """What to do for one call."""

    REUSE = "reuse"  # the idle environment that was used last
    WAIT = "wait"  # one has answered already and is about to be free
    START = "start"
    EVICT = "evict"  # end idle ones of other functions, then decide again
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Bounds of all environments of a process together, and how long one may live."""

    max_environments: int = 256
    memory_budget_mib: int = 1 << 40
    memory_reserve_mib: int = 0  # has to stay available on the host
    # Developer guide: reclaimed "every few hours"; minutes of idleness are what people observe.
    idle_s: float = 600.0
    max_age_s: float = 7200.0
    # An answered environment is busy until its runtime asks for `next`, well under a millisecond later. The next call
    # of a caller who calls one after the other must not start a second environment meanwhile.
    settle_grace_s: float = 0.02
    # Where environments were made ahead a call waits longer before it spills over: what it would get is a cold start.
    ahead_grace_s: float = 0.25
    drain_s: float = 10.0
    # Developer guide, "Understanding concurrency scaling rates": a function gets 1,000 environments more every 10 s.
    starts_at_once: int = 1000
    starts_per_s: float = 100.0


def decide_placement(
    *,
    idle: int,
    settling: int,
    waiting: int,
    has_room: bool,
    can_evict: bool,
) -> Placement:
    """Return what becomes of a call of a function with ``idle`` environments, ``settling`` more that have answered,
    ``waiting`` calls before it. ``can_evict``: idle ones of others could make the room that there is not.
    """
    if idle:
        return Placement.REUSE
    if settling > waiting:
        return Placement.WAIT
    if has_room:
        return Placement.START
    return Placement.EVICT if can_evict else Placement.REFUSE
