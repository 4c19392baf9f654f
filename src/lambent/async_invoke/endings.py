"""Where events end: what destinations and dead-letter targets get, queued before the event leaves its own queue."""

from dataclasses import dataclass

from lambent.async_invoke.consumer import Consumer
from lambent.async_invoke.dispatches import Dispatch, Kind, render_dispatch
from lambent.async_invoke.events import DELIVERY_QUEUES, QueuedEvent, Response, queue_of
from lambent.async_invoke.record import dead_letter_attributes, object_key, render_record
from lambent.async_invoke.retry import Condition
from lambent.model.clock import Clock
from lambent.model.documents import function_spec_key, parse_function_spec
from lambent.model.event_documents import EventInvokeConfig
from lambent.store.contract import Documents, Queue, QueueMessage


@dataclass(frozen=True, slots=True)
class Ended:
    """An event at its end. ``item`` names its place in the queue, once and for ever."""

    item: str
    event: QueuedEvent
    config: EventInvokeConfig | None
    condition: Condition
    response: Response | None


class Endings:
    """Queues what is owed to others. A repetition after a crash queues nothing twice."""

    def __init__(self, queue: Queue, documents: Documents, consumer: Consumer, clock: Clock) -> None:
        self._queue, self._documents, self._consumer, self._clock = queue, documents, consumer, clock

    async def record_success(self, ended: Ended) -> None:
        """Owe the record to the destination on success, if there is one."""
        if ended.config is not None and ended.config.on_success:
            await self._owe(ended, self._record(ended, Kind.ON_SUCCESS, ended.config.on_success))

    async def record_failure(self, ended: Ended) -> None:
        """Owe the record to the destination on failure and the event to the dead-letter target, if there are any."""
        # Developer guide, "Retaining records of asynchronous invocations": each gets the event independently.
        if ended.config is not None and ended.config.on_failure:
            await self._owe(ended, self._record(ended, Kind.ON_FAILURE, ended.config.on_failure))
        if target := await self._find_dead_letter_target(ended.event):
            await self._owe(ended, self._dead_letter(ended, target))

    async def _find_dead_letter_target(self, event: QueuedEvent) -> str | None:
        # Developer guide, "Adding a dead-letter queue": versions use the setting of $LATEST.
        doc = await self._documents.find(function_spec_key(event.scope, event.name))
        return None if doc is None else parse_function_spec(doc.value).dead_letter_target

    def _record(self, ended: Ended, kind: Kind, arn: str) -> Dispatch:
        now, event = self._clock.now(), ended.event
        return Dispatch(
            kind=kind,
            arn=arn,
            scope=event.scope,
            name=event.name,
            qualifier=event.qualifier,
            request_id=event.request_id,
            trace_header=event.trace_header,
            created_at=now,
            key=object_key(event.name, now),
            body=render_record(event, ended.condition, ended.response, arn, now),
        )

    def _dead_letter(self, ended: Ended, arn: str) -> Dispatch:
        event = ended.event
        return Dispatch(
            kind=Kind.DEAD_LETTER,
            arn=arn,
            scope=event.scope,
            name=event.name,
            qualifier=event.qualifier,
            request_id=event.request_id,
            trace_header=event.trace_header,
            created_at=self._clock.now(),
            attributes=dead_letter_attributes(event, ended.response),
            body=event.payload,
        )

    async def _owe(self, ended: Ended, dispatch: Dispatch) -> None:
        queue = queue_of(DELIVERY_QUEUES, dispatch.scope, dispatch.name)
        await self._queue.enqueue(queue, QueueMessage(render_dispatch(dispatch), id=f"{ended.item} {dispatch.kind}"))
        self._consumer.wake(queue)
