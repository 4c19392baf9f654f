"""The pool of stem cells: made ahead of demand in idle moments, bounded in number, replaced when they die.

A pool never makes a function wait: without a cell that is ready, or about to be, its environment is spawned.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import structlog

from lambent.environment.cell_demand import Demand, count_arrival, decide_target
from lambent.environment.cell_key import CellKey
from lambent.environment.deadlines import Deadlines
from lambent.environment.stem_cells import StemCell
from lambent.model.clock import Clock
from lambent.model.errors import HostError
from lambent.model.functions import FunctionVersion

# Environments that are being started have callers who wait: makers look away for so long, and so often that the pool
# is filled again where that never ends.
BUSY_PAUSE_S: Final = 0.02
BUSY_LIMIT_S: Final = 0.5
# How often the demand is looked at again while there are cells.
LOOK_S: Final = 30.0
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 300.0
NEW_WEIGHT: Final = 0.3  # of the last making time beside those before

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLimits:
    """Bounds of all cells of a process together. No cells at all: ``max_cells`` 0."""

    max_cells: int = 16
    makers: int = max(1, (os.cpu_count() or 1) // 2)  # cells made at a time
    keep_s: float = 600.0  # how long a key is worth a cell after it was last wanted


@dataclass(slots=True, eq=False)
class _Stock:
    """The cells of one key."""

    demand: Demand
    ready: deque[StemCell] = field(default_factory=deque)
    claims: deque["asyncio.Future[StemCell | None]"] = field(default_factory=deque)
    making: int = 0
    make_s: float = 0.1
    failures: int = 0
    retry_mono_s: float = 0.0

    @property
    def count(self) -> int:
        """How many there are or will be that nobody has claimed."""
        return len(self.ready) + self.making - len(self.claims)


class CellPool:
    """All cells of a process; an async context manager that ends them on leaving.

    ``decide_key`` returns None for a version that is spawned; ``make`` opens a cell; ``is_busy`` tells whether others
    need this host's processors more.
    """

    def __init__(
        self,
        decide_key: Callable[[FunctionVersion], CellKey | None],
        make: Callable[[CellKey], Awaitable[StemCell]],
        limits: CellLimits,
        clock: Clock,
        deadlines: Deadlines,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._decide_key = decide_key
        self._make = make
        self._limits = limits
        self._clock = clock
        self._is_busy = is_busy
        self._stocks: dict[CellKey, _Stock] = {}
        self._outdated: deque[StemCell] = deque()
        self._wake = asyncio.Event()
        self._timer = deadlines.timer(self._wake.set)
        self._busy_mono_s: float | None = None  # since when others need the processors
        self.taken = 0  # cells that became environments
        self._makers: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> Mapping[str, int]:
        """How many cells are ready, by runtime."""
        counts: dict[str, int] = {}
        for key, stock in self._stocks.items():
            counts[key.runtime] = counts.get(key.runtime, 0) + len(stock.ready)
        return counts

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._limits.max_cells:
            self._makers = [loop.create_task(self._run(), name="cell maker") for _ in range(self._limits.makers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for maker in self._makers:
            maker.cancel()
        await asyncio.gather(*self._makers, return_exceptions=True)
        for stock in self._stocks.values():
            self._drop(stock)
            for claim in stock.claims:
                if not claim.done():
                    claim.set_result(None)
        self._stocks.clear()
        await asyncio.gather(*(cell.close() for cell in self._outdated), return_exceptions=True)

    def expect(self, version: FunctionVersion) -> None:
        """Take it that environments of ``version`` will be wanted soon: it has just become invocable."""
        if self._makers and (key := self._decide_key(version)) is not None:
            self._arrive(key)

    async def take(self, version: FunctionVersion) -> StemCell | None:
        """Return a cell for ``version``, which the caller then owns; None: spawn.

        A cell that is being made already, and that nobody else waits for, comes no later than a process spawned now.
        """
        if not self._makers or (key := self._decide_key(version)) is None:
            return None
        stock = self._arrive(key)
        while stock.ready:
            if (cell := stock.ready.popleft()).is_alive:
                self.taken += 1
                return cell
            self._outdated.append(cell)
        if stock.making <= len(stock.claims):
            return None
        claim: asyncio.Future[StemCell | None] = asyncio.get_running_loop().create_future()
        stock.claims.append(claim)
        try:
            claimed = await claim
        except asyncio.CancelledError:
            if claim.done() and not claim.cancelled() and (unused := claim.result()) is not None:
                self._outdated.append(unused)
                self._wake.set()
            raise
        finally:
            if claim in stock.claims:
                stock.claims.remove(claim)
        self.taken += claimed is not None
        return claimed

    def _arrive(self, key: CellKey) -> _Stock:
        now_mono_s = self._clock.mono_s()
        stock = self._stocks.get(key)
        if stock is None:
            demand = Demand(window_mono_s=now_mono_s, last_mono_s=now_mono_s)
            stock = self._stocks[key] = _Stock(demand)
        stock.demand = count_arrival(stock.demand, now_mono_s)
        self._wake.set()
        return stock

    # --- the makers

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            while self._outdated:
                await self._close(self._outdated.popleft())
            if (key := self._choose()) is not None:
                await self._make_one(key)
            elif not self._outdated:
                await self._wake.wait()

    def _choose(self) -> CellKey | None:
        """Return the key that lacks a cell most, and see that somebody looks again when that may have changed."""
        now_mono_s = self._clock.mono_s()
        targets = {key: self._target(stock, now_mono_s) for key, stock in self._stocks.items()}
        self._trim(targets)
        due_mono_s = now_mono_s + LOOK_S if self._stocks else None
        wanting = [key for key, stock in self._stocks.items() if stock.count < targets[key]]
        if wanting and self._must_wait(now_mono_s):
            wanting, due_mono_s = [], now_mono_s + BUSY_PAUSE_S
        waiting = [self._stocks[key].retry_mono_s for key in wanting if self._stocks[key].retry_mono_s > now_mono_s]
        wanting = [key for key in wanting if self._stocks[key].retry_mono_s <= now_mono_s]
        if due_mono_s is not None:
            self._timer.set(min([due_mono_s, *waiting]))
        if not wanting:
            return None
        key = max(wanting, key=lambda each: (not self._stocks[each].count, self._stocks[each].demand.last_mono_s))
        return key if self._has_room(key) else None

    def _must_wait(self, now_mono_s: float) -> bool:
        """Whether somebody needs the processors more; never longer than the limit between two cells."""
        if not self._is_busy():
            self._busy_mono_s = None
            return False
        if self._busy_mono_s is None:
            self._busy_mono_s = now_mono_s
        if now_mono_s - self._busy_mono_s < BUSY_LIMIT_S:
            return True
        self._busy_mono_s = now_mono_s
        return False

    def _target(self, stock: _Stock, now_mono_s: float) -> int:
        target = decide_target(stock.demand, now_mono_s=now_mono_s, make_s=stock.make_s, keep_s=self._limits.keep_s)
        return min(target, self._limits.max_cells)

    def _trim(self, targets: Mapping[CellKey, int]) -> None:
        """Drop what nobody wants any more. What varies is kept until its key is forgotten."""
        for key, target in targets.items():
            stock = self._stocks[key]
            if not target and not stock.making and not stock.claims:
                self._drop(self._stocks.pop(key))

    def _drop(self, stock: _Stock) -> None:
        """Have the cells of ``stock`` ended; their deaths are no news then."""
        self._outdated += stock.ready
        stock.ready.clear()

    def _has_room(self, key: CellKey) -> bool:
        """Whether one more may be made; a key without a cell may have that of the key that was wanted longest ago."""
        if sum(len(stock.ready) + stock.making for stock in self._stocks.values()) < self._limits.max_cells:
            return True
        last = min(
            (stock for stock in self._stocks.values() if stock.ready), key=lambda each: each.demand.last_mono_s,
            default=None,
        )  # fmt: skip
        stock = self._stocks[key]
        if stock.count or last is None or last.demand.last_mono_s >= stock.demand.last_mono_s:
            return False
        self._outdated.append(last.ready.popleft())
        return True

    async def _make_one(self, key: CellKey) -> None:
        stock, since_mono_s = self._stocks[key], self._clock.mono_s()
        stock.making += 1
        cell: StemCell | None = None
        try:
            cell = await self._make(key)
        except HostError as error:
            self._failed(stock, key, str(error))
        except Exception:  # the edge of one unit of work: other keys must get their cells
            log.exception("cell_failed", runtime=key.runtime)
            self._failed(stock, key, "a defect")
        finally:
            stock.making -= 1
            if cell is None:
                self._give_up_claim(stock)
        if cell is not None:
            stock.failures = 0
            stock.make_s += NEW_WEIGHT * (self._clock.mono_s() - since_mono_s - stock.make_s)
            self._place(cell, stock)

    def _place(self, cell: StemCell, stock: _Stock) -> None:
        while stock.claims:
            if not (claim := stock.claims.popleft()).done():
                claim.set_result(cell)
                return
        stock.ready.append(cell)
        cell.when_dead(lambda: self._died(cell, stock))

    def _died(self, cell: StemCell, stock: _Stock) -> None:
        if cell in stock.ready:
            stock.ready.remove(cell)
            self._outdated.append(cell)
            self._failed(stock, cell.key, "it ended while it waited")

    def _failed(self, stock: _Stock, key: CellKey, reason: str) -> None:
        """Wait longer with every cell in a row that came to nothing; those that end together count as one."""
        now_mono_s = self._clock.mono_s()
        if stock.retry_mono_s > now_mono_s:
            self._wake.set()
            return
        pause_s = min(FIRST_RETRY_S * 2**stock.failures, LONGEST_RETRY_S)
        stock.failures += 1
        stock.retry_mono_s = now_mono_s + pause_s
        log.warning("cell_lost", runtime=key.runtime, reason=reason, retry_s=pause_s)
        self._wake.set()

    def _give_up_claim(self, stock: _Stock) -> None:
        """Let the claim spawn that the cell was for: there are no more claims than cells being made."""
        while len(stock.claims) > stock.making:
            if not (claim := stock.claims.pop()).done():
                claim.set_result(None)

    async def _close(self, cell: StemCell) -> None:
        try:
            await cell.close()
        except HostError as error:
            log.warning("cell_end_failed", reason=str(error))
