"""The owner of all endless loops of the server."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


class Loops:
    """Starts loops in one task group: what leaves a loop ends the process, on purpose."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, loop: Coroutine[None, None, None]) -> None:
        """Run ``loop`` until the server ends."""
        self._tasks.append(self._group.create_task(loop, name=name))

    def cancel(self) -> None:
        """Cancel them all."""
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def open_loops() -> AsyncIterator[Loops]:
    """Yield the loops; leaving cancels them and waits for their ends."""
    async with asyncio.TaskGroup() as group:
        loops = Loops(group)
        try:
            yield loops
        finally:
            loops.cancel()
