"""The owner of everything that answers requests: a caller, or a connection, that goes away ends none of it."""

import asyncio
from collections.abc import Coroutine

import structlog

log = structlog.get_logger(__name__)


class Calls:
    """Holds a task per request that could not be answered at once, until it ends or ``close`` cancels it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: Coroutine[None, None, None], name: str) -> None:
        """Run ``coroutine`` to its end."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def drain(self, limit_s: float) -> int:
        """Give what runs ``limit_s`` to end; return how much has not."""
        if self._tasks and limit_s > 0:
            await asyncio.wait(tuple(self._tasks), timeout=limit_s)
        return len(self._tasks)

    async def close(self, grace_s: float) -> None:
        """Give what runs ``grace_s`` to end, then cancel it."""
        await self.drain(grace_s)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("answer_failed", task=task.get_name(), exc_info=error)
