"""Where a 202 comes from: an event is checked, and durable, before anybody is told that it was accepted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from lambent.async_invoke.consumer import Consumer
from lambent.async_invoke.events import EVENT_QUEUES, QueuedEvent, queue_of, render_event
from lambent.async_invoke.seams import EventMetrics, Invoker
from lambent.model.clock import Clock
from lambent.model.errors import RequestTooLarge
from lambent.model.invocations import InvokeCall
from lambent.model.names import parse_function_reference
from lambent.model.requests import Members, RequestContext
from lambent.store.contract import Queue, QueueMessage

# Service model, InvokeAsync: "The payload limit is 256KB."
INVOKE_ASYNC_LIMIT_BYTES: Final = 262_144


class Acceptance:
    """Takes events in."""

    def __init__(
        self,
        invoker: Invoker,
        queue: Queue,
        consumer: Consumer,
        metrics: EventMetrics,
        clock: Clock,
        check_payload: Callable[[bytes], bytes],
    ) -> None:
        self._invoker, self._queue, self._consumer = invoker, queue, consumer
        self._metrics, self._clock, self._check_payload = metrics, clock, check_payload

    async def accept(self, call: InvokeCall) -> None:
        """Return once the event survives whatever happens to this host. CallerError as the road raises it.

        Recorded from AWS: concurrency is not looked at. API reference, Invoke: the client context is for synchronous
        invocations only.
        """
        await self._invoker.invoke(replace(call, is_dry_run=True))
        target, now = call.target, self._clock.now()
        event = QueuedEvent(
            request_id=call.request_id,
            scope=target.scope,
            name=target.name,
            qualifier=target.qualifier,
            payload=call.payload,
            accepted_at=now,
            trace_header=call.trace_header,
            tenant_id=call.tenant_id,
        )
        queue = queue_of(EVENT_QUEUES, target.scope, target.name)
        await self._queue.enqueue(queue, QueueMessage(render_event(event)))
        self._consumer.wake(queue)
        self._metrics.record_value(
            "AsyncEventsReceived", 1, scope=target.scope, function_name=target.name, qualifier=target.qualifier, at=now
        )

    async def invoke_async(self, ctx: RequestContext, members: Members) -> Members:
        """InvokeAsync, the older operation: no qualifier but in the name, no trace."""
        payload = bytes(members["InvokeArgs"])
        if len(payload) > INVOKE_ASYNC_LIMIT_BYTES:
            words = f"byte payload is too large for the Event invocation type (limit {INVOKE_ASYNC_LIMIT_BYTES} bytes)"
            raise RequestTooLarge(f"{len(payload)} {words}")
        target = parse_function_reference(
            members["FunctionName"], None, ctx.scope, "InvokeFunction", caller_arn=ctx.caller.arn
        )
        call = InvokeCall(
            request_id=ctx.request_id,
            target=target,
            payload=self._check_payload(payload),
            caller_arn=ctx.caller.arn,
        )
        await self.accept(call)
        return {"Status": 202}
