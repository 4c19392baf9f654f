"""Takes the items of many queues through one handler: at least once, fair between queues, bounded, without polling."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from lambent.async_invoke.retry import backoff_s
from lambent.async_invoke.shares import ShareLimits, decide_room, decide_window, decide_window_after_overload
from lambent.model.clock import Clock
from lambent.store.contract import Delivery, NotOwner, Queue, StoreError

# How long an item stays ours without a word; after a crash, how long until it comes again at the latest.
HELD_S: Final = 60.0
PARKED_S: Final = 600.0  # a queue that was empty for so long is forgotten until something is put into it
CLAIM_LIMIT: Final = 16
STORE_RETRY_S: Final = 1.0
DEFECT_RETRY_S: Final = 60.0
_OVERLOAD_STEPS: Final = 6  # a queue whose items are refused rests for 1, 2, 4 … 64 s

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """The item is done with."""


@dataclass(frozen=True, slots=True)
class Later:
    """The item comes again after ``delay_s``. ``is_overload``: so many at once are too many for now."""

    delay_s: float
    body: bytes | None = None
    is_overload: bool = False


Verdict: TypeAlias = Finished | Later
Handle: TypeAlias = Callable[[Delivery], Awaitable[Verdict]]


class Consumer:
    """Serves every queue below ``prefix`` while ``running``; ``wake`` says that one has something."""

    def __init__(
        self, queue: Queue, prefix: str, handle: Handle, clock: Clock, limits: ShareLimits | None = None
    ) -> None:
        self._queue, self._prefix, self._handle, self._clock = queue, prefix, handle, clock
        self.limits = limits or ShareLimits()
        self._feeders: dict[str, _Feeder] = {}
        self._waiting: dict[_Feeder, None] = {}  # for room, in the order of asking
        self._group: asyncio.TaskGroup | None = None
        self.total_in_hand = 0

    @asynccontextmanager
    async def running(self, drain_s: float) -> AsyncIterator[None]:
        """Serve; on leaving take nothing more, give what is in hand ``drain_s`` to end, give back the rest."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            keeper = group.create_task(self._keep(), name=f"keeper of {self._prefix}")
            for name in await self._queue.names(self._prefix):
                self.wake(name)
            try:
                yield
            finally:
                self._group = None
                await self._drain(drain_s)
                keeper.cancel()

    def wake(self, name: str) -> None:
        """Have the queue ``name`` served, if it is not yet."""
        if (feeder := self._feeders.get(name)) is not None:
            feeder.is_woken = True
        elif self._group is not None:
            feeder = self._feeders[name] = _Feeder(name, self, self._queue, self._handle, self._clock)
            feeder.start(self._group)

    def find_obstacle(self, name: str) -> str | None:
        """Return what the queue ``name`` waits for, in words, or None."""
        feeder = self._feeders.get(name)
        if feeder is None:
            return None
        if (rest_s := feeder.rest_s) > 0:
            return f"{rest_s:.0f} s of rest: its items were refused"
        return "room: others are in hand" if feeder in self._waiting else None

    def hasten(self, name: str) -> None:
        """Let the queue ``name`` rest no longer."""
        self.wake(name)
        if (feeder := self._feeders.get(name)) is not None:
            feeder.end_rest()

    # --- for feeders

    @property
    def active(self) -> int:
        """How many queues have something in hand or wait for room."""
        return sum(bool(each.in_hand) for each in self._feeders.values()) + len(self._waiting)

    def wait_for_room(self, feeder: "_Feeder") -> None:
        """Have ``feeder`` told when something ends."""
        self._waiting[feeder] = None

    def released(self, feeder: "_Feeder") -> None:
        """Tell who waits for room that an item of ``feeder`` has ended: itself, and who has waited longest."""
        self.total_in_hand -= 1
        for each in {feeder: None, next(iter(self._waiting), feeder): None}:
            self._waiting.pop(each, None)
            each.freed.set()

    def forget(self, feeder: "_Feeder") -> None:
        """Serve it no more until it is woken."""
        self._waiting.pop(feeder, None)
        self._feeders.pop(feeder.name, None)

    # --- inside

    async def _keep(self) -> None:
        """Hold on to what is in hand for longer than the store gives it to us."""
        while True:
            await self._clock.sleep_s(HELD_S / 3)
            now_mono_s = self._clock.mono_s()
            held = [
                delivery
                for feeder in self._feeders.values()
                for delivery, since_mono_s in feeder.in_hand.values()
                if now_mono_s - since_mono_s > HELD_S / 4
            ]
            for outcome in await asyncio.gather(*map(self._extend, held), return_exceptions=True):
                if isinstance(outcome, StoreError) and not isinstance(outcome, NotOwner):  # it just ended
                    log.warning("item_not_extended", reason=str(outcome))

    async def _extend(self, delivery: Delivery) -> None:
        await self._queue.extend(delivery, visible_after_s=HELD_S)

    async def _drain(self, drain_s: float) -> None:
        feeders = tuple(self._feeders.values())
        for feeder in feeders:
            feeder.stop_taking()
        items = [task for feeder in feeders for task in feeder.tasks]
        if items and drain_s > 0:
            limit = asyncio.get_running_loop().create_task(self._clock.sleep_s(drain_s))
            ended = asyncio.gather(*items, return_exceptions=True)
            await asyncio.wait((limit, ended), return_when=asyncio.FIRST_COMPLETED)
            limit.cancel()
        for task in items:
            task.cancel()


class _Feeder:
    """One queue: receives as much as there is room for, and has each item handled in a task of its own."""

    def __init__(self, name: str, consumer: Consumer, queue: Queue, handle: Handle, clock: Clock) -> None:
        self.name = name
        self.in_hand: dict[str, tuple[Delivery, float]] = {}  # since when
        self.tasks: set[asyncio.Task[None]] = set()
        self.freed = asyncio.Event()
        self.is_woken = False
        self._consumer, self._queue, self._handle, self._clock = consumer, queue, handle, clock
        self._group: asyncio.TaskGroup | None = None
        self._taking: asyncio.Task[None] | None = None
        self._window = consumer.limits.first_window
        self._measured_mono_s = clock.mono_s()
        self._completed, self._best_rate = 0, 0.0
        self._refusals, self._rests_until_mono_s = 0, 0.0

    def start(self, group: asyncio.TaskGroup) -> None:
        """Serve the queue in ``group``."""
        self._group = group
        self._taking = group.create_task(self._take(), name=f"feeder of {self.name}")

    @property
    def rest_s(self) -> float:
        """How long the queue is left alone from now."""
        return self._rests_until_mono_s - self._clock.mono_s()

    def end_rest(self) -> None:
        """Rest no longer."""
        self._rests_until_mono_s = 0.0
        self.freed.set()

    def stop_taking(self) -> None:
        """Receive nothing more."""
        if self._taking is not None:
            self._taking.cancel()

    async def _take(self) -> None:
        while True:
            try:
                if not await self._take_once():
                    return
            except StoreError as error:
                log.warning("queue_unavailable", queue=self.name, reason=str(error))
                await self._clock.sleep_s(STORE_RETRY_S)

    async def _take_once(self) -> bool:
        """Receive once; False when the queue was forgotten because it is empty."""
        limit = min(await self._room(), CLAIM_LIMIT)
        self.is_woken = False
        found = await self._queue.receive(self.name, limit=limit, visible_after_s=HELD_S, wait_s=PARKED_S)
        for delivery in found:
            self._begin(delivery)
        if len(found) == limit:
            self._measure()
        if found or self.in_hand:
            return True
        depth = await self._queue.depth(self.name)
        if depth.visible or depth.in_flight or depth.delayed or self.is_woken:
            return True
        self._consumer.forget(self)  # no await since the look at is_woken
        return False

    async def _room(self) -> int:
        while True:
            if self.rest_s > 0:
                await self._rest()
                continue
            room = decide_room(
                self._consumer.limits,
                in_hand=len(self.in_hand),
                total_in_hand=self._consumer.total_in_hand,
                active=self._consumer.active,
                window=self._window,
            )
            if room:
                return room
            self.freed.clear()
            self._consumer.wait_for_room(self)
            await self.freed.wait()

    async def _rest(self) -> None:
        """Wait until the rest is over, or was ended; whoever ends an item rings too, and the rest goes on."""
        self.freed.clear()
        sleeping = asyncio.ensure_future(self._clock.sleep_s(self.rest_s))
        ringing = asyncio.ensure_future(self.freed.wait())
        try:
            await asyncio.wait((sleeping, ringing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            ringing.cancel()

    def _begin(self, delivery: Delivery) -> None:
        is_known = delivery.id in self.in_hand
        self.in_hand[delivery.id] = (delivery, self._clock.mono_s())
        if is_known:  # this process stood still for so long that the store gave it to us again
            log.warning("item_delivered_twice", queue=self.name, item=delivery.id)
            return
        self._consumer.total_in_hand += 1
        assert self._group is not None  # noqa: S101  (set by start)
        task = self._group.create_task(self._work(delivery), name=f"item of {self.name}")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _work(self, delivery: Delivery) -> None:
        try:
            verdict = await self._handle(delivery)
        except asyncio.CancelledError:
            await self._settle(delivery.id, Later(0))  # the next start takes it at once
            raise
        except Exception:  # the edge of one unit of work: a defect loses nothing
            log.exception("item_not_handled", queue=self.name, item=delivery.id)
            verdict = Later(DEFECT_RETRY_S)
        await self._settle(delivery.id, verdict)

    async def _settle(self, item: str, verdict: Verdict) -> None:
        delivery, _ = self.in_hand[item]
        try:
            if isinstance(verdict, Later):
                await self._queue.nak(delivery, delay_s=verdict.delay_s, body=verdict.body)
            else:
                await self._queue.ack(delivery)
        except NotOwner:
            log.info("item_gone", queue=self.name, item=item)  # purged meanwhile
        except StoreError as error:
            log.error("item_not_settled", queue=self.name, item=item, reason=str(error))
        finally:
            self._note(is_overload=isinstance(verdict, Later) and verdict.is_overload)
            del self.in_hand[item]
            self._consumer.released(self)

    def _note(self, *, is_overload: bool) -> None:
        if not is_overload:
            self._completed += 1
            self._refusals = 0
            return
        self._window = decide_window_after_overload(self._window)
        self._measured_mono_s, self._completed, self._best_rate = self._clock.mono_s(), 0, 0.0
        if self._window == 1:
            self._rests_until_mono_s = self._clock.mono_s() + backoff_s(min(self._refusals, _OVERLOAD_STEPS))
            self._refusals += 1

    def _measure(self) -> None:
        """There is a backlog: see now and then whether more at once would help."""
        elapsed_s = self._clock.mono_s() - self._measured_mono_s
        window = decide_window(
            self._consumer.limits,
            window=self._window,
            completed=self._completed,
            elapsed_s=elapsed_s,
            best_rate=self._best_rate,
        )
        if window is not None:
            self._window, self._best_rate = window, max(self._best_rate, self._completed / elapsed_s)
            self._measured_mono_s, self._completed = self._clock.mono_s(), 0
