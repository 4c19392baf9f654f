"""How long a connection waits, for what: one table, so that no peer holds one for nothing."""

from enum import Enum, auto
from math import inf

from lambent.http.limits import HttpLimits


class Waiting(Enum):
    """What a connection waits for: each has a deadline of its own."""

    REQUEST = auto()  # nothing is under way
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    READER = auto()  # the peer takes nothing of what we wrote
    END = auto()  # the peer ended its side; answers are in flight
    LINGER = auto()  # we ended ours; the peer may still be sending


def decide_patience_s(waiting: Waiting, limits: HttpLimits, *, body_bytes: int, unsent_bytes: int) -> float:
    """Return how long a peer may keep us ``waiting``, from the moment that it began; infinite where nothing bounds it.

    ``body_bytes`` of the request have arrived: a body may take as long as its size does at the slowest rate allowed.
    ``unsent_bytes`` of answers are still in our hands: the same for a peer that reads.
    """
    timeout_s: float | None = None
    extra_s = 0.0
    match waiting:
        case Waiting.REQUEST:
            timeout_s = limits.idle_timeout_s
        case Waiting.HEAD:
            timeout_s = limits.head_timeout_s
        case Waiting.BODY:
            timeout_s, extra_s = limits.body_timeout_s, body_bytes / limits.body_rate_bytes
        case Waiting.READER:
            timeout_s, extra_s = limits.write_timeout_s, unsent_bytes / limits.write_rate_bytes
        case Waiting.END:
            timeout_s = limits.half_close_timeout_s
        case Waiting.LINGER:
            timeout_s = limits.write_timeout_s if unsent_bytes else limits.linger_s
        case Waiting.ANSWER:
            pass  # our own work: whoever does it has a deadline of his own
    return inf if timeout_s is None else timeout_s + extra_s
