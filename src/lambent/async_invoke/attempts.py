"""One try of one event: through the one road, then what its outcome means."""

from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from lambent.async_invoke.consumer import Finished, Later, Verdict
from lambent.async_invoke.endings import Ended, Endings
from lambent.async_invoke.events import KEPT_RESPONSE_BYTES, QueuedEvent, Response, parse_event, render_event
from lambent.async_invoke.retry import (
    MAX_AGE_S,
    MAX_RETRIES,
    Condition,
    EventPolicy,
    GiveUp,
    Outcome,
    RetryAt,
    decide_before,
    decide_next_step,
)
from lambent.async_invoke.seams import EventMetrics, Functions, Invoker
from lambent.model.clock import Clock
from lambent.model.documents import function_spec_key, parse_function_spec
from lambent.model.errors import CallerError, HostError, ResourceNotFound, Throttled, TransitionError
from lambent.model.event_documents import EventInvokeConfig, event_config_key, parse_event_config
from lambent.model.functions import FunctionVersion
from lambent.store.contract import Delivery, Documents

_DELETED: Final = "the function, or the version or alias, is not there any more"

log = structlog.get_logger(__name__)


class Attempts:
    """Handles deliveries of events."""

    def __init__(
        self,
        invoker: Invoker,
        functions: Functions,
        documents: Documents,
        endings: Endings,
        metrics: EventMetrics,
        clock: Clock,
    ) -> None:
        self._invoker, self._functions, self._documents = invoker, functions, documents
        self._endings, self._metrics, self._clock = endings, metrics, clock

    async def handle(self, delivery: Delivery) -> Verdict:
        """Try the event once. What it leaves behind is durable before it leaves the queue."""
        event = parse_event(delivery.body)
        with structlog.contextvars.bound_contextvars(request_id=event.request_id):
            config = await self._find_config(event)
            version = self._find_version(event)
            reserved = None if version is None else version.reserved_concurrency
            step = decide_before(event, policy_of(config), reserved_concurrency=reserved, now=self._clock.now())
            if step is not None:
                return await self._give_up(delivery, event, config, step.condition, event.last)
            return await self._try(delivery, event)

    async def _try(self, delivery: Delivery, event: QueuedEvent) -> Verdict:
        started_at = self._clock.now()
        try:
            outcome, response = await self._invoke(event)
        except ResourceNotFound:
            log.warning("event_dropped", reason=_DELETED, function=event.name)
            self._measure("AsyncEventsDropped", 1, event)
            return Finished()
        if response is not None:
            age_ms = (started_at - event.accepted_at).total_seconds() * 1000
            self._measure("AsyncEventAge", age_ms, event, started_at)
        # What was configured meanwhile counts: a try may have taken a quarter of an hour.
        config = await self._find_config(event)
        step = decide_next_step(event, outcome, policy_of(config), self._clock.now())
        if isinstance(step, RetryAt):
            delay_s = (step.at - self._clock.now()).total_seconds()
            is_overload = outcome is not Outcome.FUNCTION_ERROR
            return Later(max(delay_s, 0), render_event(after_try(event, outcome, response)), is_overload)
        tried = after_try(event, outcome, response, keeps_all=True)
        if isinstance(step, GiveUp):
            return await self._give_up(delivery, tried, config, step.condition, tried.last)
        await self._endings.record_success(Ended(delivery.id, tried, config, Condition.SUCCESS, response))
        return Finished()

    async def _invoke(self, event: QueuedEvent) -> tuple[Outcome, Response | None]:
        try:
            result = await self._invoker.invoke(event.call)
        except ResourceNotFound:
            raise
        except Throttled:
            return Outcome.THROTTLED, None
        except (CallerError, HostError, TransitionError) as error:
            log.warning("event_not_run", function=event.name, reason=str(error))
            return Outcome.HOST_ERROR, None
        response = Response(
            payload=result.payload, executed_version=result.executed_version, function_error=result.function_error
        )
        is_error = result.function_error is not None
        return Outcome.FUNCTION_ERROR if is_error else Outcome.SUCCEEDED, response

    async def _give_up(
        self,
        delivery: Delivery,
        event: QueuedEvent,
        config: EventInvokeConfig | None,
        condition: Condition,
        response: Response | None,
    ) -> Verdict:
        self._measure("AsyncEventsDropped", 1, event)
        log.info("event_given_up", function=event.name, condition=condition, tries=event.failed_tries)
        await self._endings.record_failure(Ended(delivery.id, event, config, condition, response))
        return Finished()

    async def _find_config(self, event: QueuedEvent) -> EventInvokeConfig | None:
        doc = await self._documents.find(event_config_key(event.scope, event.name, event.config_qualifier))
        if doc is None:
            return None
        config = parse_event_config(doc.value)
        # One that a deleted function of the same name left behind says nothing about this one.
        spec = await self._documents.find(function_spec_key(event.scope, event.name))
        is_its = spec is not None and parse_function_spec(spec.value).first_generation == config.first_generation
        return config if is_its else None

    def _find_version(self, event: QueuedEvent) -> FunctionVersion | None:
        try:
            return self._functions.resolve(event.call.target)
        except (CallerError, HostError):
            return None  # the road says what that means

    def _measure(self, metric: str, value: float, event: QueuedEvent, at: datetime | None = None) -> None:
        self._metrics.record_value(
            metric,
            value,
            scope=event.scope,
            function_name=event.name,
            qualifier=event.qualifier,
            at=at or self._clock.now(),
        )


def policy_of(config: EventInvokeConfig | None) -> EventPolicy:
    """Return the rules that a configuration sets."""
    if config is None:
        return EventPolicy()
    return EventPolicy(
        max_retries=MAX_RETRIES if config.max_retries is None else config.max_retries,
        max_age_s=MAX_AGE_S if config.max_age_s is None else config.max_age_s,
    )


def after_try(
    event: QueuedEvent, outcome: Outcome, response: Response | None, *, keeps_all: bool = False
) -> QueuedEvent:
    """Return ``event`` as it is after a try; without ``keeps_all`` a large answer is not kept."""
    if response is None:
        return replace(event, throttled_tries=event.throttled_tries + 1)
    kept = response if keeps_all or len(response.payload) <= KEPT_RESPONSE_BYTES else None
    failed = outcome is Outcome.FUNCTION_ERROR
    return replace(event, failed_tries=event.failed_tries + failed, last=kept)
