"""The whole of asynchronous invocation, put together: two consumers, of events and of what is owed to destinations."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from lambent.async_invoke.acceptance import Acceptance
from lambent.async_invoke.attempts import Attempts
from lambent.async_invoke.consumer import Consumer, Verdict
from lambent.async_invoke.deliveries import Deliveries
from lambent.async_invoke.endings import Endings
from lambent.async_invoke.events import DELIVERY_QUEUES, EVENT_QUEUES
from lambent.async_invoke.inspection import Inspection
from lambent.async_invoke.seams import EventMetrics, Functions, Invoker, Neighbours
from lambent.async_invoke.shares import ShareLimits
from lambent.model.clock import Clock
from lambent.model.requests import Commands
from lambent.store.contract import Delivery, Documents, Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Whom it works with."""

    invoker: Invoker
    functions: Functions
    neighbours: Neighbours
    metrics: EventMetrics
    clock: Clock
    check_payload: Callable[[bytes], bytes]


class AsyncInvocation:
    """``acceptance`` takes events in; what was taken in is worked off while ``running``."""

    def __init__(self, queue: Queue, documents: Documents, peers: Peers, limits: ShareLimits) -> None:
        clock, metrics = peers.clock, peers.metrics
        self._events = Consumer(queue, EVENT_QUEUES, self._handle_event, clock, limits)
        self._owed = Consumer(queue, DELIVERY_QUEUES, self._handle_dispatch, clock, ShareLimits(total=16))
        endings = Endings(queue, documents, self._owed, clock)
        self._attempts = Attempts(peers.invoker, peers.functions, documents, endings, metrics, clock)
        self.acceptance = Acceptance(peers.invoker, queue, self._events, metrics, clock, peers.check_payload)
        consumers = {"events": self._events, "deliveries": self._owed}
        self.inspection = Inspection(queue, consumers, metrics, clock)
        self._deliveries = Deliveries(peers.neighbours, self.acceptance.accept, metrics, clock)

    def commands(self) -> Commands:
        """Return the commands by operation name."""
        return {"InvokeAsync": self.acceptance.invoke_async}

    @asynccontextmanager
    async def running(self, drain_s: float) -> AsyncIterator[None]:
        """Work off the queues; on leaving let tries that run end for ``drain_s`` at most and give back the others."""
        async with self._owed.running(drain_s), self._events.running(drain_s):
            yield

    async def _handle_event(self, delivery: Delivery) -> Verdict:
        return await self._attempts.handle(delivery)

    async def _handle_dispatch(self, delivery: Delivery) -> Verdict:
        return await self._deliveries.handle(delivery)
