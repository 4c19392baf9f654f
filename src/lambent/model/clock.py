"""The seam to time. The real clock lives in ``assembly``, the fake one in ``testing``."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Injected time; nothing else in Lambent reads a clock or sleeps."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC instant."""
        ...

    def mono_s(self) -> float:
        """Return seconds on a monotonic clock that runs during no suspension; never stored, never sent."""
        ...

    async def sleep_s(self, seconds: float) -> None:
        """Return after ``seconds`` of this clock's monotonic time."""
        ...
