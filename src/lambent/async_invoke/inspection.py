"""What is queued, for those who run it: how much, how old, what it waits for; and how to drop it or hasten it."""

from dataclasses import dataclass
from typing import Any, Final

from lambent.async_invoke.consumer import Consumer
from lambent.async_invoke.events import DELIVERY_QUEUES, EVENT_QUEUES, queue_of
from lambent.async_invoke.seams import EventMetrics
from lambent.model.clock import Clock
from lambent.model.errors import InvalidParameterValue
from lambent.model.ids import Scope
from lambent.store.contract import Depth, Queue

_KINDS: Final = {"events": EVENT_QUEUES, "deliveries": DELIVERY_QUEUES}


@dataclass(frozen=True, slots=True)
class Inspection:
    """Answers about the queues of one account and region."""

    queue: Queue
    consumers: dict[str, Consumer]  # by kind
    metrics: EventMetrics
    clock: Clock

    async def list_queues(self, scope: Scope, _: dict[str, str]) -> dict[str, Any]:
        """Return a row for each queue that holds anything, the function's events before what is owed for it."""
        rows = []
        for kind, prefix in _KINDS.items():
            for name in await self.queue.names(queue_of(prefix, scope, "")):
                depth = await self.queue.depth(name)
                rows.append(_row(kind, name, depth, self.consumers[kind].find_obstacle(name)))
        return {"queues": sorted(rows, key=lambda row: (row["function"], row["kind"] != "events"))}

    async def purge(self, scope: Scope, members: dict[str, str]) -> dict[str, Any]:
        """Drop all events of a function (or all that is owed for it), also those in hand: their tries go on."""
        kind, name = _parse(members)
        count = await self.queue.purge(queue_of(_KINDS[kind], scope, name))
        if count:
            metric = "AsyncEventsDropped" if kind == "events" else "DestinationDeliveryFailures"
            now = self.clock.now()
            self.metrics.record_value(metric, count, scope=scope, function_name=name, qualifier=None, at=now)
        return {"purged": count}

    async def redrive(self, scope: Scope, members: dict[str, str]) -> dict[str, Any]:
        """Have everything that waits for its time tried now."""
        kind, name = _parse(members)
        queue = queue_of(_KINDS[kind], scope, name)
        count = await self.queue.hasten(queue)
        self.consumers[kind].hasten(queue)
        return {"redriven": count}


def _parse(members: dict[str, str]) -> tuple[str, str]:
    kind, name = members.get("kind") or "events", members.get("function") or ""
    if kind not in _KINDS or not name or "/" in name:
        raise InvalidParameterValue("function must be a name, and kind events or deliveries")
    return kind, name


def _row(kind: str, name: str, depth: Depth, obstacle: str | None) -> dict[str, Any]:
    waits = obstacle
    if waits is None and depth.delayed and not depth.visible:
        waits = "the time of its next try"
    return {
        "function": name.rpartition("/")[2],
        "kind": kind,
        "visible": depth.visible,
        "in_flight": depth.in_flight,
        "delayed": depth.delayed,
        "oldest_age_s": round(depth.oldest_age_s, 3),
        "waits_for": waits,
    }
