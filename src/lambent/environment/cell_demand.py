"""How many cells to have ready: the rate at which they are wanted and how much it varies, not constants."""

import math
from dataclasses import dataclass, replace
from typing import Final

WINDOW_S: Final = 1.0
# What a window's arrivals count beside all windows before it.
NEW_WEIGHT: Final = 0.2
# Standard deviations of the demand of one making time that are kept ready beside its mean.
SPARE_DEVIATIONS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Arrivals by windows of a second: the one being counted, and weighted averages of those before it."""

    window_mono_s: float  # when the window being counted began
    last_mono_s: float  # of the last arrival
    arrivals: int = 0
    mean: float = 0.0
    square: float = 0.0  # mean of the arrivals' squares


def count_arrival(demand: Demand, now_mono_s: float) -> Demand:
    """Return ``demand`` with one arrival more."""
    current = close_windows(demand, now_mono_s)
    return replace(current, arrivals=current.arrivals + 1, last_mono_s=now_mono_s)


def close_windows(demand: Demand, now_mono_s: float) -> Demand:
    """Return ``demand`` with all windows closed that are over by now; those after the first were empty."""
    passed = int((now_mono_s - demand.window_mono_s) / WINDOW_S)
    if passed < 1:
        return demand
    fade = (1 - NEW_WEIGHT) ** (passed - 1)
    return replace(
        demand,
        window_mono_s=demand.window_mono_s + passed * WINDOW_S,
        arrivals=0,
        mean=_average(demand.mean, demand.arrivals) * fade,
        square=_average(demand.square, demand.arrivals**2) * fade,
    )


def decide_target(demand: Demand, *, now_mono_s: float, make_s: float, keep_s: float) -> int:
    """Return how many cells to have ready, where making one takes ``make_s``.

    One for ``keep_s`` after the last arrival; more if more are likely to be asked for while others are being made.
    """
    if now_mono_s - demand.last_mono_s >= keep_s:
        return 0
    current = close_windows(demand, now_mono_s)
    mean, square = current.mean, current.square
    if current.arrivals > mean:  # a window that is under way can only tell of more
        mean, square = _average(mean, current.arrivals), _average(square, current.arrivals**2)
    windows = max(make_s / WINDOW_S, 1.0)
    # Independent arrivals vary as much as their mean; fewer than that were luck.
    variance = max(square - mean**2, mean)
    return max(1, math.ceil(mean * windows + SPARE_DEVIATIONS * math.sqrt(variance * windows)))


def _average(before: float, new: float) -> float:
    return before + NEW_WEIGHT * (new - before)
