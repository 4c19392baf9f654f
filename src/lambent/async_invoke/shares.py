"""How much of what waits is in hand at once: fair between queues, and no more than helps. Pure functions."""

from dataclasses import dataclass
from typing import Final

_LOOK_S: Final = 1.0
_LOOK_AT_SLOW_S: Final = 3.0


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


def decide_window(
    limits: ShareLimits, *, window: int, completed: int, elapsed_s: float, best_rate: float
) -> int | None:
    """Return how many items of a queue with a backlog may be in hand from now, None where it is too early to say.

    ``completed`` have ended in the ``elapsed_s`` since it was said last. Quick functions get more at once as long as
    that is also more a second; slow ones get more anyway, but not before those just begun can have found their
    environments.
    """
    if elapsed_s < (_LOOK_S if completed >= window else _LOOK_AT_SLOW_S):
        return None
    helps = completed < window or completed / elapsed_s > best_rate * 1.2
    return min(window + max(window // 2, 1), limits.total) if helps else window


def decide_window_after_overload(window: int) -> int:
    """Return the window after a throttle."""
    return max(window // 2, 1)
