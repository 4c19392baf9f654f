"""How much to measure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    rounds: int = 5
    calls: int = 3000  # of one client, a round
    calls_each: int = 1500  # of each of eight
    cold: int = 20  # new functions, a round
    spawns: int = 5  # a round
    functions: int = 10_000
    idle_s: float = 20.0
    peer_calls: int = 20
