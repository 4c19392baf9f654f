"""One timer for all deadlines: thousands of connections and servers share it, and nothing is paid per request."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

SWEEP_INTERVAL_S: Final = 1.0

log = structlog.get_logger(__name__)


class Expiring(Protocol):
    """Something with a deadline on the sweep's clock."""

    deadline_mono_s: float

    def expire(self) -> None:
        """Act on a deadline that has passed; must move or drop the deadline."""
        ...


class Sweep:
    """Looks at every watched deadline once per interval. The timer only runs while something is watched.

    ``now_mono_s`` is as old as the last look. A deadline of it plus ``interval_s`` plus a timeout is two intervals
    late at most, and never early.
    """

    __slots__ = ("_clock_mono", "_timer", "_watched", "interval_s", "now_mono_s")

    def __init__(self, clock_mono: Callable[[], float], *, interval_s: float = SWEEP_INTERVAL_S) -> None:
        self._clock_mono = clock_mono
        self.interval_s = interval_s
        self._watched: set[Expiring] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.now_mono_s = clock_mono()

    def watch(self, expiring: Expiring) -> None:
        """Look at the deadline of ``expiring`` from now on."""
        self._watched.add(expiring)
        if self._timer is None:
            self.now_mono_s = self._clock_mono()
            self._start_timer()

    def forget(self, expiring: Expiring) -> None:
        """Look no more; harmless if it was never watched."""
        self._watched.discard(expiring)

    def sweep_once(self) -> None:
        """Expire everything whose deadline has passed."""
        self.now_mono_s = now = self._clock_mono()
        for expiring in [each for each in self._watched if each.deadline_mono_s <= now]:
            try:
                expiring.expire()
            except Exception:  # the edge of one unit of work: other connections must still be swept
                log.exception("sweep_failed")

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.interval_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.sweep_once()
        if self._watched:
            self._start_timer()
