"""Real time."""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """The ``Clock`` of a running server."""

    def now(self) -> datetime:
        """Return the wall clock."""
        return datetime.now(UTC)

    def mono_s(self) -> float:
        """Return the monotonic clock, which stands still while the host is suspended."""
        return time.monotonic()

    async def sleep_s(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await asyncio.sleep(seconds)
