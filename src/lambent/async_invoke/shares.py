"""How much of what waits is in hand at once: fair between queues, and no more than helps. Pure functions."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareLimits:
    """Bounds of what a consumer has in hand. ``own`` every queue may have, whatever the others hold."""

    total: int = 128
    own: int = 2
    first_window: int = 8


def decide_room(limits: ShareLimits, *, in_hand: int, total_in_hand: int, active: int, window: int) -> int:
    """Return how many more items a queue may take that has ``in_hand``, beside ``active`` queues with itself.

    What one queue holds for long never keeps another from its own two, nor from an equal share once things end.
    """
    allowed = min(window, max(limits.own, limits.total // max(active, 1)))
    shared = min(allowed - in_hand, limits.total - total_in_hand)
    return max(shared, min(limits.own, window) - in_hand, 0)


def decide_window(limits: ShareLimits, *, window: int, completed: int, rate: float, best_rate: float) -> int:
    """Return how many items of a queue with a backlog may be in hand, after a second in which ``completed`` ended.

    Slow functions get more at once every second; quick ones only as long as more at once is also more a second.
    """
    is_slow = completed < window
    return min(window * 2, limits.total) if is_slow or rate > best_rate * 1.25 else window


def decide_window_after_overload(window: int) -> int:
    """Return the window after a throttle."""
    return max(window // 2, 1)
