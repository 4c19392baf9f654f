"""A thread that takes whatever waits as one group: its work on one group is the waiting time of the next.

No timer gathers a group. Completions of a whole group reach the loop in one call.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from lambent.store.contract import Unavailable

RequestT = TypeVar("RequestT")

GROUP_LIMIT_OPERATIONS: Final = 512
GROUP_LIMIT_BYTES: Final = 8 * 1024 * 1024


class GroupThread(Generic[RequestT]):
    """Owns one thread. ``work`` runs in it, on a group, and returns what to run on the loop afterwards.

    ``size_of`` weighs a request. While nothing waits for ``pause_s()`` seconds, ``on_pause`` runs in the thread;
    ``on_stop`` runs in it at the end.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[RequestT]], Callable[[], None]],
        size_of: Callable[[RequestT], int],
        *,
        pause_s: Callable[[], float | None] = lambda: None,
        on_pause: Callable[[], None] = lambda: None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._work, self._size_of = work, size_of
        self._pause_s, self._on_pause, self._on_stop = pause_s, on_pause, on_stop
        self._waiting: queue.SimpleQueue[RequestT | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, request: RequestT) -> None:
        """Hand a request to the thread. Raises Unavailable once closed."""
        if self._is_closed:
            raise Unavailable("the store is closed")
        self._waiting.put(request)

    async def close(self) -> None:
        """Finish what was submitted and end the thread."""
        if not self._is_closed:
            self._is_closed = True
            self._waiting.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        await asyncio.sleep(0)  # lets the last group's completions run

    def _run(self) -> None:
        try:
            while True:
                try:
                    first = self._waiting.get(timeout=self._pause_s())
                except queue.Empty:
                    self._on_pause()
                    continue
                if first is None:
                    return
                group, is_last = self._gather(first)
                done = self._work(group)
                try:
                    self._loop.call_soon_threadsafe(done)
                except RuntimeError:  # the loop was closed under us: nobody is left to be told
                    return
                if is_last:
                    return
        finally:
            self._on_stop()

    def _gather(self, first: RequestT) -> tuple[list[RequestT], bool]:
        group, size = [first], self._size_of(first)
        while len(group) < GROUP_LIMIT_OPERATIONS and size < GROUP_LIMIT_BYTES:
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                return group, False
            if request is None:
                return group, True
            group.append(request)
            size += self._size_of(request)
        return group, False
