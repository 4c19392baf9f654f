"""A bound on what one environment may ask of the server, which serves all of them on one loop."""

from collections.abc import Coroutine
from math import inf
from typing import Final

from lambent.http.application import Application, BodyPlan, Reply, Request, RequestHead
from lambent.model.clock import Clock

# Above what one function can do with answers to wait for, below what would keep others waiting.
REQUESTS_PER_S: Final = 2000.0
BURST: Final = 1000.0  # so many may come at once, after a rest
COUNTED_BYTES: Final = 64 * 1024  # a body counts as one more request for each of these


class Paced:
    """``application``, whose requests wait as soon as they come faster than the rate. None is refused.

    A connection whose request waits is not read from, so that what waits is bounded by the number of connections.
    """

    __slots__ = ("_application", "_clock", "_due_mono_s")

    def __init__(self, application: Application, clock: Clock) -> None:
        self._application, self._clock = application, clock
        self._due_mono_s = -inf  # when all that was let in so far would have been, at the rate

    def plan_body(self, head: RequestHead) -> BodyPlan:
        """Return what the application plans."""
        return self._application.plan_body(head)

    def handle(self, request: Request, reply: Reply) -> Coroutine[None, None, None] | None:
        """Hand the request on, at once or when it is due."""
        now_mono_s = self._clock.mono_s()
        cost_s = (1 + len(request.body) // COUNTED_BYTES) / REQUESTS_PER_S
        self._due_mono_s = max(self._due_mono_s, now_mono_s - BURST / REQUESTS_PER_S) + cost_s
        wait_s = self._due_mono_s - now_mono_s
        return self._application.handle(request, reply) if wait_s <= 0 else self._wait(request, reply, wait_s)

    async def _wait(self, request: Request, reply: Reply, wait_s: float) -> None:
        await self._clock.sleep_s(wait_s)
        if not reply.is_gone and (answering := self._application.handle(request, reply)) is not None:
            await answering
